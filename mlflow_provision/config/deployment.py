"""What the operator wants: a `Deployment` and its parts. The comments given here are those of a new deployment file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DEFAULT_MLFLOW_VERSION = "3.17.2"


def setting(default: Any, doc: str, shown: bool = False) -> Any:
    """A key of the deployment file; a new file carries it with its comment if `shown`, else only if it was changed."""
    return field(default=default, metadata={"doc": doc, "shown": shown})


@dataclass(frozen=True)
class MLflow:
    version: str = setting(DEFAULT_MLFLOW_VERSION, "", shown=True)
    port: int = setting(5000, "", shown=True)
    listen: str = setting("127.0.0.1", "the address it answers on: 127.0.0.1 is reached through a tunnel", shown=True)
    workers: int | None = setting(None, "left out: from the host's memory")
    job_execution: bool = setting(False, "MLflow's job runners: about 1 GB of memory")
    allowed_hosts: tuple[str, ...] = setting((), "further names people reach the server by")
    index_url: str = setting("", "a mirror of the package index")


@dataclass(frozen=True)
class Artifacts:
    destination: str = setting("", '"": a folder beside the database; or s3://bucket/prefix, or /a/folder', shown=True)
    region: str = setting("", "")
    endpoint_url: str = setting("", "an S3-compatible store")
    credentials: str = setting("", '"instance-role", "profile" (copied from ~/.aws) or "keys" (in the secrets file)')
    profile: str = setting("", "in ~/.aws of the machine you work on")

    def __post_init__(self) -> None:
        """`s3://bucket/prefix/` and `s3://bucket/prefix` are one destination: keep one spelling."""
        object.__setattr__(self, "destination", without_last_slash(self.destination))


@dataclass(frozen=True)
class Auth:
    admin_username: str = setting("admin", "", shown=True)
    default_permission: str = setting("READ", "what users may do with the work of others", shown=True)


@dataclass(frozen=True)
class Backup:
    destination: str = setting("", "s3://bucket/prefix, a folder on the host, or operator:~/folder on your machine")
    schedule: str = setting("daily", "hourly, daily, weekly or off")
    verify: str = setting("weekly", "how often the newest one is read back: daily, weekly, monthly or off")
    keep_last: int = setting(3, "")
    keep_daily: int = setting(7, "")
    keep_weekly: int = setting(4, "")
    keep_monthly: int = setting(0, "")
    artifacts: bool = setting(True, "those in a folder of the host; a bucket takes care of its own")
    encryption: str = setting("", '"passphrase" (in the secrets file) or "recipient" (an age public key)')
    recipient: str = setting("", "age1…: made by `mlflow-provision backup keygen`")
    append_only: bool = setting(False, "the host may add backups and never delete one")
    region: str = setting("", "left out, with the next three: as in [artifacts]")
    endpoint_url: str = setting("", "")
    credentials: str = setting("", '"instance-role", "profile" or "keys", where they are not those of [artifacts]')
    profile: str = setting("", "")

    def __post_init__(self) -> None:
        object.__setattr__(self, "destination", without_last_slash(self.destination))

    @property
    def on_s3(self) -> bool:
        return self.destination.startswith("s3://")

    @property
    def with_operator(self) -> bool:
        """Are they kept on the machine of whoever asks for them? Then nothing can be made without that person."""
        return self.destination.startswith(OPERATOR)

    @property
    def scheduled(self) -> bool:
        return bool(self.destination) and self.schedule != OFF and not self.with_operator


@dataclass(frozen=True)
class Gc:
    schedule: str = setting("off", "when the host removes for good what was deleted: daily, weekly, monthly or off")
    older_than: str = setting("30d", "what was deleted less long ago stays")

    @property
    def scheduled(self) -> bool:
        return self.schedule != OFF


OPERATOR = "operator:"  # begins a destination on the operator's machine
OFF = "off"
OF_A_BUCKET = ("region", "endpoint_url", "credentials", "profile")  # keys that no other place for backups has


@dataclass(frozen=True)
class Secrets:
    admin_password: str = field(default="", repr=False)
    aws_access_key_id: str = field(default="", repr=False)
    aws_secret_access_key: str = field(default="", repr=False)
    aws_session_token: str = field(default="", repr=False)
    backup_passphrase: str = field(default="", repr=False)
    backup_identity: str = field(default="", repr=False)
    backup_access_key_id: str = field(default="", repr=False)
    backup_secret_access_key: str = field(default="", repr=False)
    backup_ping_url: str = field(default="", repr=False)


@dataclass(frozen=True)
class Deployment:
    name: str = field(metadata={"doc": "also the name of this file", "shown": True})
    host: str = field(metadata={"doc": 'anything `ssh` takes, or "local"', "shown": True})
    scope: str = setting("system", '"system": root and systemd; "user": ~/mlflow, without root', shown=True)
    identity_file: str = setting("", "the SSH key, where ~/.ssh/config does not say")
    root: str = setting("", '"": /opt/mlflow in system scope, ~/mlflow in user scope')
    mlflow: MLflow = field(default_factory=MLflow)
    artifacts: Artifacts = field(default_factory=Artifacts)
    auth: Auth = field(default_factory=Auth)
    backup: Backup = field(default_factory=Backup)
    gc: Gc = field(default_factory=Gc)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", without_last_slash(self.root))


def without_last_slash(path: str) -> str:
    return path[:-1] if len(path) > 1 and path.endswith("/") and not path.endswith("//") else path
