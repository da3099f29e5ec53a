"""Which MLflow is installed, without asking it: `mlflow --version` takes six seconds."""

from __future__ import annotations

import glob
import re

_VERSION = re.compile(r"mlflow-([0-9][0-9A-Za-z.]*)\.dist-info$")


def mlflow_version(venv: str) -> str:
    """The MLflow installed in a virtual environment, from its metadata; "" when there is none."""
    for path in sorted(glob.glob(f"{glob.escape(venv)}/lib/python*/site-packages/mlflow-*.dist-info")):
        match = _VERSION.search(path)
        if match:
            return match[1]
    return ""
