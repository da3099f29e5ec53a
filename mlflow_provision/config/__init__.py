"""What the operator wants: a `Deployment`, its rules, its file, and its secrets in a file of their own."""

from mlflow_provision.config.change import changed
from mlflow_provision.config.deployment import (
    DEFAULT_MLFLOW_VERSION,
    Artifacts,
    Auth,
    Backup,
    Deployment,
    Gc,
    MLflow,
    Secrets,
)
from mlflow_provision.config.here import deployments, local_scope
from mlflow_provision.config.places import (
    config_dir,
    deployment_path,
    find,
    forget,
    names,
    secrets_beside,
    secrets_path,
)
from mlflow_provision.config.rules.auth import generate_password, password_problem
from mlflow_provision.config.secrets_file import ENVIRONMENT, load_secrets, missing_secrets, save_secrets
from mlflow_provision.config.toml_file import as_toml, load, save
from mlflow_provision.config.validate import check, validate

__all__ = [
    "DEFAULT_MLFLOW_VERSION",
    "ENVIRONMENT",
    "Artifacts",
    "Auth",
    "Backup",
    "Deployment",
    "Gc",
    "MLflow",
    "Secrets",
    "as_toml",
    "changed",
    "check",
    "config_dir",
    "deployment_path",
    "deployments",
    "find",
    "forget",
    "generate_password",
    "load",
    "load_secrets",
    "local_scope",
    "missing_secrets",
    "names",
    "password_problem",
    "save",
    "save_secrets",
    "secrets_beside",
    "secrets_path",
    "validate",
]
