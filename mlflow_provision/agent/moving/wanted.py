"""What a request to move artifacts carries."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Any, Callable, Union

from mlflow_provision.agent.backup.settings import Settings, settings
from mlflow_provision.agent.moving.bucket import Access, Buckets, Objects
from mlflow_provision.agent.moving.folder import NO_RIGHTS, Folder
from mlflow_provision.agent.moving.identity import files_of
from mlflow_provision.agent.moving.names import Spot, inside, spot
from mlflow_provision.agent.moving.places import Place
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import from_json
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.resources.systemd_service import SystemdService

Service = Union[SystemdService, BackgroundProcess]
_ABSENT = "not on this host: clients may have written there on their own machines"


@dataclass(frozen=True)
class Wanted:
    """All paths are absolute. `destination`: where the server keeps its artifacts; `to`: where it is to keep them, ""
    unless the store itself moves. `as_root`: folders for which root's rights are used, where
    those of the service user do not do."""

    deployment: str
    base: str
    data: str
    moves: str  # a folder of ours: the manifest, and what is known of earlier moves
    database: str
    owner: str  # the service user; "" in user scope
    destination: str
    target: Access
    source: Access
    to: str
    to_access: Access
    without: str  # a place inside of the store that holds other things: backups
    as_root: tuple[str, ...]
    missing: bool  # rewrite places of this host that are not there, too
    thorough: bool  # read every byte through the server
    record: str  # of the move whose originals go
    settings: Settings | None
    identity: str = field(repr=False)
    service: Service
    verify: dict[str, Any] = field(repr=False)
    resources: list[dict[str, Any]] = field(repr=False)
    old_resources: list[dict[str, Any]] = field(repr=False)

    @property
    def kept(self) -> Spot:
        """The place where the server keeps artifacts."""
        found = spot(self.destination)
        if found is None:
            raise AgentError(f"{self.destination} is neither s3://bucket/prefix nor an absolute folder")
        return found

    @property
    def journal(self) -> str:
        """While it is there, the database may say new places although nobody proved them."""
        return f"{self.moves}/journal.json"

    @property
    def old_rows(self) -> str:
        """What the rows said that a move has rewritten."""
        return f"{self.moves}/rows.jsonl"

    @property
    def copied(self) -> str:
        """The manifest of a move, or of the move of the whole store to that place."""
        if not self.to:
            return f"{self.moves}/copied.jsonl"
        both = f"{self.destination}\n{self.to}".encode()
        return f"{self.moves}/store-{hashlib.sha256(both).hexdigest()[:12]}.jsonl"

    def why_not(self, place: Spot, top: Spot) -> str:
        """Why a place of this host cannot be read; "" when it can. `top` is the place of its experiment."""
        if place.bucket:
            return ""
        if inside(place, Spot("", self.base)) is not None and inside(place, Spot("", self.data)) is None:
            return "inside of the folder of the server itself"
        with files_of(self.reader(place)):
            try:
                if os.path.isdir(place.path):
                    os.listdir(place.path)
                    return ""
                os.stat(place.path)
            except PermissionError:
                return NO_RIGHTS
            except OSError:
                pass
            # A run without artifacts has no folder; an experiment that has none either may never have been used here.
            around = os.path.dirname(top.path)
            known = os.path.isdir(top.path) or (around != "/" and os.path.isdir(around))
        return "" if known or self.missing else _ABSENT

    def reader(self, place: Spot) -> str:
        """Whose rights count for a place: "" for root's."""
        trusted = any(inside(place, Spot("", os.path.normpath(folder))) is not None for folder in self.as_root)
        return "" if trusted else self.owner


class Places:
    """The places that a move reads and writes."""

    def __init__(self, wanted: Wanted, stopping: Callable[[], bool]) -> None:
        notes = f"{wanted.moves}/uploads"
        self._wanted = wanted
        self._target = Buckets(wanted.target, notes, stopping)
        self._source = Buckets(wanted.source, notes, stopping)
        self._to = Buckets(wanted.to_access, notes, stopping)

    def ours(self, below: str = "") -> Place:
        """Where the server keeps its artifacts."""
        kept = self._wanted.kept.below(below)
        if kept.bucket:
            return self._target.objects(kept.bucket, kept.path, without=self._without())
        return Folder(kept.path, self._wanted.owner)

    def new(self) -> Place:
        """Where it is to keep them."""
        return self.new_below("")

    def new_below(self, below: str) -> Place:
        """A path there."""
        top = spot(self._wanted.to)
        if top is None:
            raise AgentError(f"{self._wanted.to} is neither s3://bucket/prefix nor an absolute folder")
        place = top.below(below)
        return self._to.objects(place.bucket, place.path) if place.bucket else Folder(place.path, self._wanted.owner)

    def of(self, place: Spot) -> Place:
        """Where artifacts are that a row of the database names."""
        if place.bucket:
            found: Objects = self._source.objects(place.bucket, place.path)
            return found
        return Folder(place.path, self._wanted.reader(place))

    def _without(self) -> str:
        place = spot(self._wanted.without) if self._wanted.without else None
        return place.path if place and place.bucket == self._wanted.kept.bucket else ""


def wanted(data: dict[str, Any]) -> Wanted:
    """The request in this data."""
    service = from_json(data["service"])
    if not isinstance(service, (BackgroundProcess, SystemdService)):
        raise AgentError("a move needs the server")
    names = ("deployment", "base", "data", "moves", "database", "owner", "destination")
    return Wanted(
        **{name: data[name] for name in names},
        target=Access(**data["target"]),
        source=Access(**data["source"]),
        to=data.get("to", ""),
        to_access=Access(**data.get("to_access", {})),
        without=data.get("without", ""),
        as_root=tuple(data.get("as_root", ())),
        missing=data.get("missing", False),
        thorough=data.get("thorough", False),
        record=data.get("record", ""),
        settings=settings(data) if data.get("settings") else None,
        identity=data.get("identity", ""),
        service=service,
        verify=data["verify"],
        resources=data.get("resources", []),
        old_resources=data.get("old_resources", []),
    )
