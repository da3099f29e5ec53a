"""Turn a blank server into a verified, hardened MLflow tracking server, and look after it."""

__version__ = "0.1.0"
