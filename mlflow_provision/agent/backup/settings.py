"""What a request about backups carries: what is backed up, where to, and by which rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Source:
    """What cannot be made again, on this host. Names are those in the backup, values are absolute paths."""

    deployment: str
    databases: dict[str, str]  # "mlflow.db", "basic_auth.db"
    files: dict[str, str]  # secrets and configuration; one that is missing is an error
    artifacts: str  # the folder; "" where they are in a bucket
    venv: str  # tells the versions of MLflow and Python
    kind: str = "sqlite"  # the only one so far


@dataclass(frozen=True)
class Place:
    """Where backups are: `s3://bucket/prefix`, `operator:/folder` (on the operator's machine) or a folder here.

    Keys are empty where the host's instance role is meant.
    """

    destination: str
    region: str = ""
    endpoint_url: str = ""
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    metadata_url: str = ""  # "": where every EC2 instance finds it


@dataclass(frozen=True)
class Encryption:
    """To whom backups are encrypted: an age recipient (https://age-encryption.org/v1); "" for nobody.

    With a passphrase the identity is derived from it on the operator's side; `kdf` says how, and goes into every
    manifest. The host never needs the identity to make a backup.
    """

    recipient: str = ""
    kdf: dict[str, Any] = field(default_factory=dict)
    python: str = ""  # of the venv that has pyrage


@dataclass(frozen=True)
class Keep:
    """How many backups to keep of each kind; all 0: never prune."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0


@dataclass(frozen=True)
class Settings:
    """Everything but what to do. `state` is a folder of the service user: lock, scratch, what happened last."""

    user: str
    state: str
    source: Source
    place: Place
    encryption: Encryption
    keep: Keep
    tool_version: str
    ping_url: str = field(default="", repr=False)


def settings(data: dict[str, Any]) -> Settings:
    """The settings in a request's `data["settings"]`."""
    parts = data["settings"]
    return Settings(
        user=parts["user"],
        state=parts["state"],
        source=Source(**parts["source"]),
        place=Place(**parts["place"]),
        encryption=Encryption(**parts.get("encryption", {})),
        keep=Keep(**parts.get("keep", {})),
        tool_version=parts["tool_version"],
        ping_url=parts.get("ping_url", ""),
    )
