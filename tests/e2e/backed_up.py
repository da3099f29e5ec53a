"""A server with work in it, an operator who backs it up, and a look into the places behind everybody's back."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.operator import Operator
from tests.e2e.served import NAME, Served
from tests.lab import DelayProxy, Keys, LabHost, RcloneS3
from tests.lab.network import SERVICES_ADDRESS

BASE = f"/opt/mlflow/{NAME}"
STATE = f"{BASE}/backup/state"
BUCKET = "backups"


class Far(DelayProxy):
    """Between lab hosts and a store: slow, or cut, when a test wants it."""

    address = SERVICES_ADDRESS

    def __enter__(self) -> Far:
        super().__enter__()
        return self

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}:{self.port}"


@dataclass
class BackedUp:
    """The server of the session, seen by an operator of its own: what is decided here is not seen by other tests."""

    host: LabHost
    operator: Operator
    s3: RcloneS3

    def to(self, prefix: str, endpoint: str = "") -> tuple[str, ...]:
        """Options that name a place in the store."""
        return (f"s3://{BUCKET}/{prefix}", *self._way(endpoint or self.s3.endpoint))

    def _way(self, endpoint: str) -> tuple[str, ...]:
        return ("--aws-keys", "--endpoint-url", endpoint, "--region", "us-east-1")

    def keys(self, keys: Keys) -> None:
        """Those that the operator has for the place of backups."""
        self.operator.variables["MLFLOW_PROVISION_BACKUP_ACCESS_KEY_ID"] = keys.key
        self.operator.variables["MLFLOW_PROVISION_BACKUP_SECRET_ACCESS_KEY"] = keys.secret

    def back_up(self, *place: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
        """Make a backup; what the document says about it."""
        made: dict[str, Any] = self.operator.json("backup", "now", NAME, "--to", *place, *options)["backup"]
        return made

    def listed(self, *place: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.operator.json("backup", "list", NAME, "--from", *place)["backups"]
        return found

    def folder(self, prefix: str) -> Path:
        """Where the store keeps the backups below a prefix."""
        return self.s3.folder / BUCKET / prefix / NAME

    def litter(self, store: Path) -> list[str]:
        """What is in a store that no manifest names, and what is in the host's scratch."""
        named = set()
        for manifest in store.glob("*/manifest.json"):
            content = json.loads(manifest.read_text())["manifest"]
            named |= {member["key"] for member in [*content["members"], *content["packs"]]}
            named |= {f"{content['id']}/manifest.json", f"{content['id']}/verified.json"}
        there = {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}
        scratch = self.host.path(f"{STATE}/scratch")
        left = [str(path) for path in scratch.rglob("*")] if scratch.exists() else []
        return sorted(there - named) + left

    def server(self) -> int:
        """The process that serves."""
        return int(self.host.run(["systemctl", "show", f"mlflow-{NAME}", "--property=MainPID", "--value"]).stdout)


def beside(served: Served, s3: RcloneS3, home: Path) -> BackedUp:
    """Another operator of the same server."""
    operator = Operator(home, served.host.ssh_config)
    shutil.copytree(served.operator.config, operator.config)
    if not (s3.folder / BUCKET).exists():
        s3.create_bucket(BUCKET)
    backed_up = BackedUp(served.host, operator, s3)
    backed_up.keys(s3.keys)
    return backed_up


def artifact(host: LabHost, path: str, content: bytes) -> None:
    """As if the server had stored it."""
    user = f"mlflow-{NAME}"
    folder = f"{BASE}/data/artifacts/{Path(path).parent}"
    host.run(["runuser", "-u", user, "--", "mkdir", "-p", folder])
    target = host.path(f"{BASE}/data/artifacts/{path}")
    target.write_bytes(content)
    host.run(["chown", f"{user}:{user}", f"{BASE}/data/artifacts/{path}"])


def unpacked(stored: Path, folder: Path) -> Path:
    """The content of an object that is compressed and not encrypted."""
    target = folder / stored.name.removesuffix(".gz")
    target.write_bytes(gzip.decompress(stored.read_bytes()))
    return target


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    """A file is another one within the block."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(content: bytes) -> bytes:
    """The same with one bit wrong, somewhere."""
    place = random.randrange(len(content) * 8)
    changed = bytearray(content)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)
