"""What a request to collect what was deleted carries: which server, where its artifacts are, and how old is old."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlflow_provision.agent.protocol import AgentError

if TYPE_CHECKING:
    from mlflow_provision.agent.s3 import Credentials


@dataclass(frozen=True)
class Place:
    """Where the server keeps artifacts: `s3://bucket/prefix` or a folder. It has no secret: the keys of a bucket are
    those in the server's own AWS file; without such a file they are those of the instance's role."""

    destination: str
    region: str = ""
    endpoint_url: str = ""
    credentials_file: str = ""
    profile: str = ""
    metadata_url: str = ""  # "": where every EC2 instance finds it

    @property
    def on_s3(self) -> bool:
        return self.destination.startswith("s3://")


@dataclass(frozen=True)
class Settings:
    """`state` is a folder of the service user; `root` the one with all deployments of the host, `host_lock` the file
    that whoever changes the host holds; `seconds`: what was deleted less long ago stays."""

    deployment: str
    user: str
    state: str
    root: str
    host_lock: str
    tracking: str
    users: str
    release: str
    place: Place
    seconds: float


def settings(data: dict[str, Any]) -> Settings:
    """The settings in a request's `data["settings"]`."""
    parts = dict(data["settings"])
    return Settings(**{**parts, "place": Place(**parts["place"])})


def keys_in(path: str, profile: str) -> Credentials:
    """The keys of a profile in an AWS credentials file."""
    from mlflow_provision.agent.s3 import Credentials  # late: the operator asks for settings, and never for this

    parser = configparser.RawConfigParser()
    try:
        with open(path) as file:
            parser.read_file(file)
        section = parser[profile or "default"]
        return Credentials(
            section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token", "")
        )
    except (configparser.Error, KeyError):
        raise AgentError(
            f"{path} has no keys of the profile {profile or 'default'}",
            "mlflow-provision setup NAME writes it anew",
        ) from None
