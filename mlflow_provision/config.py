"""What the operator wants: a `Deployment` and its parts."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_MLFLOW_VERSION = "3.17.2"
DEFAULT_INDEX_URL = ""  # empty: the default package index of uv


@dataclass(frozen=True)
class MLflow:
    version: str = DEFAULT_MLFLOW_VERSION
    port: int = 5000
    listen: str = "127.0.0.1"
    workers: int | None = None  # None: from the host's memory
    job_execution: bool = False
    allowed_hosts: tuple[str, ...] = ()  # further names people reach the server by
    index_url: str = ""


@dataclass(frozen=True)
class Artifacts:
    destination: str = ""  # "": a folder in the deployment's data; else s3://bucket/prefix or an absolute folder
    region: str = ""
    endpoint_url: str = ""  # an S3-compatible store
    credentials: str = ""  # "instance-role", "profile", "keys"; "" for a folder
    profile: str = ""


@dataclass(frozen=True)
class Auth:
    admin_username: str = "admin"
    default_permission: str = "READ"


@dataclass(frozen=True)
class Secrets:
    admin_password: str = field(default="", repr=False)
    aws_access_key_id: str = field(default="", repr=False)
    aws_secret_access_key: str = field(default="", repr=False)
    aws_session_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Deployment:
    name: str
    host: str  # anything `ssh` takes, or "local"
    scope: str = "system"  # "system": root through sudo, systemd; "user": ~/mlflow, a background process
    identity_file: str = ""
    root: str = ""  # "": /opt/mlflow in system scope, ~/mlflow in user scope
    mlflow: MLflow = field(default_factory=MLflow)
    artifacts: Artifacts = field(default_factory=Artifacts)
    auth: Auth = field(default_factory=Auth)
