"""Does the client get by without the store's keys, and without speaking to the store?"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from .telling import Failed

_OF_CLOUDS = ("AWS_", "AMAZON_", "GOOGLE_", "GCP_", "GCLOUD_", "AZURE_", "ARM_", "S3_", "BOTO_")
_LOCK = "AWS_EC2_METADATA_DISABLED"  # holds no key: it keeps that of the instance this may be from being found
_FOLDERS = (".aws", ".boto", ".config", ".azure", ".s3cfg")


class Connections:
    """Every address this process connects to, from now on."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()
        sys.addaudithook(self._heard)

    def only_to(self, url: str) -> str:
        """Raises Failed if there was any other than the server at this URL."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        allowed = {(str(address[0]), int(address[1])) for *_, address in found}
        strangers = {f"{address}:{number}" for address, number in self._seen - allowed}
        if strangers:
            raise Failed(f"it also connected to {', '.join(sorted(strangers))}")
        if not self._seen:
            raise Failed("no connection was seen at all")
        return f"{host}:{port}"

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and len(address) >= 2:  # not a path of this machine
                self._seen.add((str(address[0]), int(address[1])))


def holds_no_key() -> str:
    """Look where the clouds' own libraries would find one. Raises Failed if there is one."""
    variables = [name for name in os.environ if name.startswith(_OF_CLOUDS) and name != _LOCK]
    if variables:
        raise Failed(f"there is {', '.join(sorted(variables))} in its environment")
    left = [name for name in _FOLDERS if (Path.home() / name).exists()]
    if left:
        raise Failed(f"its home has {', '.join(sorted(left))}")
    try:
        from botocore.session import Session
    except ImportError:
        return "none in its environment or home, and boto3 is not installed"
    if Session().get_credentials() is not None:
        raise Failed("boto3 finds credentials")
    return "none in its environment or home, and boto3 finds none"
