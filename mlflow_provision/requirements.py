"""Pure: which packages a deployment's server is made of, and which versions of them are known to work."""

from __future__ import annotations

import hashlib
from importlib import resources

from mlflow_provision.config import Deployment
from mlflow_provision.version import numbers

# MLflow asks for 3.10 or newer since 3.5.1; its dependencies ship wheels for x86_64 and aarch64 up to 3.14.
SUPPORTED_PYTHON = ">=3.10,<3.15"

# What MLflow itself does not install: without these a server starts healthy, and the first upload is a 500.
_PACKAGES_OF_SCHEME = {
    "s3": ("boto3",),
}

# (the first MLflow that is free of it, what earlier ones need). Each was seen to fail, and to work with the constraint.
_INCOMPATIBILITIES = (
    ((3, 9), "sqlalchemy<2.1"),  # FallbackAsyncAdaptedQueuePool, which MLflow imported up to 3.8, is gone in 2.1
)


def requirements(deployment: Deployment) -> tuple[str, ...]:
    """What to install: MLflow with its auth app, and what the deployment's stores need."""
    stores = (deployment.artifacts.destination,)
    packages = {package for store in stores for package in _PACKAGES_OF_SCHEME.get(_scheme(store), ())}
    return (f"mlflow[auth]=={deployment.mlflow.version}", *sorted(packages))


def constraints(version: str) -> tuple[str, ...]:
    """Limits for everything installed beside MLflow: all pinned for a version we ship, else known trouble kept out."""
    shipped = resources.files("mlflow_provision.constraints") / f"mlflow-{version}.txt"
    if shipped.is_file():
        return _lines(shipped.read_text("utf-8"))
    return tuple(limit for fixed_in, limit in _INCOMPATIBILITIES if numbers(version) < fixed_in)


def release_name(version: str, requirements: tuple[str, ...], constraints: tuple[str, ...]) -> str:
    """The name of a release's folder: the same packages, the same folder, whichever deployment asks."""
    content = "\n".join([*sorted(requirements), "", *sorted(constraints)])
    return f"{version}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _scheme(url: str) -> str:
    """The scheme of a store's URL without its driver (`postgresql+psycopg2` is `postgresql`); "" for a folder."""
    scheme, separator, _ = url.partition("://")
    return scheme.partition("+")[0].lower() if separator else ""


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#"))
