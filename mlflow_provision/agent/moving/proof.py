"""Proof that the server gives back what it should: lists and bytes, through its own API."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from dataclasses import dataclass
from typing import Any, Callable

from mlflow_provision.agent.adoption import readable
from mlflow_provision.agent.http import Client, NoAnswer
from mlflow_provision.agent.moving.places import Entry, Place
from mlflow_provision.agent.moving.plan import RUN, Unit
from mlflow_provision.agent.protocol import AgentError

_LISTED = 300  # runs, models and traces whose artifacts are listed
_LISTING = 60.0  # seconds for that
_READ = 1000  # artifacts that are read
_BYTES = 1 << 30
_DEEPEST = 30
_TIMEOUT = 120.0
_TOLD = 5
_ENOUGH = 100  # wrong ones: more are not looked for
_ATTEMPTS = 10  # at something that is written to again and again


@dataclass
class Proof:
    """What was looked at, and what is wrong."""

    units: int = 0
    files: int = 0
    bytes: int = 0
    total: int = 0  # units that there are
    wrong: tuple[str, ...] = ()

    def summary(self) -> str:
        some = "" if self.units == self.total else f" of {self.total:,}"
        return f"{self.units:,}{some} listed, {self.files:,} files read"


def proved(
    verify: dict[str, Any],
    units: list[Unit],
    ours: Callable[[str], Place],
    sums: dict[str, str],
    thorough: bool,
    stopping: Callable[[], bool],
) -> Proof:
    """Compare what the server shows with what is in its store, and with the sha256 that was taken of the originals.

    `ours` gives the place of a path below the server's artifacts; `sums` path → sha256. Without `thorough`: up to 300
    units or a minute, and up to 1000 files or 1 GB of bytes, from all over.
    """
    client = Client(verify["url"], verify["username"], verify["password"], timeout=_TIMEOUT)
    by_path = {unit.to: unit for unit in units}
    chosen = sorted(by_path) if thorough else readable.spread(sorted(by_path), _LISTED)
    found = Proof(total=len(by_path))
    odd: dict[str, Unit] = {}
    files: dict[str, Entry] = {}
    units_of: dict[str, Unit] = {}
    deadline = time.monotonic() + _LISTING
    for to in chosen:
        if not thorough and time.monotonic() > deadline:
            break
        _unless(stopping)
        there = {entry.name: entry for entry in ours(to).find(stopping)}
        shown = _shown(client, by_path[to])
        for name, entry in there.items():
            files[f"{to}/{name}"] = entry
            units_of[f"{to}/{name}"] = by_path[to]
            if shown.get(name, -1) not in (entry.size, None):
                odd[f"{to}/{name}"] = by_path[to]
        found.units += 1
    names = sorted(files) if thorough else readable.spread(sorted(files), _READ)
    for name in names:
        _unless(stopping)
        if not thorough and found.bytes + files[name].size > _BYTES:
            continue
        given = readable.copied_sha256(client, name)
        if given != sums.get(name) and not _is(given, ours, name):
            odd[name] = units_of[name]
        found.files += 1
        found.bytes += files[name].size
    wrong = (name for name, unit in odd.items() if _wrong(client, ours, unit, name))
    found.wrong = tuple(itertools.islice(wrong, _ENOUGH))
    return found


def _is(given: str, ours: Callable[[str], Place], name: str) -> bool:
    """Is that the sum of what is there? Not of what somebody deletes or writes just now: it is looked at again."""
    try:
        return given == _direct(ours, name)
    except AgentError as error:
        if error.kind != "changed":
            raise
        return False


def _wrong(client: Client, ours: Callable[[str], Place], unit: Unit, name: str) -> bool:
    """Is it still wrong while nobody writes to it? The server runs again, and so do its clients."""
    for _ in range(_ATTEMPTS):
        before = ours("").look(name)
        if before is None:
            return False  # somebody has deleted it
        try:
            size = _shown(client, unit).get(name.removeprefix(f"{unit.to}/"), -1)
            same = size in (before.size, None) and readable.copied_sha256(client, name) == _direct(ours, name)
        except AgentError:
            same = False
        if same:
            return False
        if ours("").look(name) == before:
            return True
    return False


def refuse_wrong(proof: Proof) -> None:
    """Raise AgentError unless all is as it should be."""
    if proof.wrong:
        more = f" and {len(proof.wrong) - _TOLD} more" if len(proof.wrong) > _TOLD else ""
        names = ", ".join(proof.wrong[:_TOLD])
        # Seen with 3.12.0, whose answer is 500; 3.13.0 encodes them.
        hint = "" if names.isascii() else "MLflow before 3.13 cannot give back what has such a name: upgrade it first"
        raise AgentError(f"the server does not give back what was moved: {names}{more}", hint, "verify")


def _shown(client: Client, unit: Unit) -> dict[str, int | None]:
    """What the server lists of a unit: path → size; the size is None where it does not say."""
    try:
        if unit.kind == RUN:
            return dict(readable.artifacts(client, unit.id))
        return _listed(client, unit.to, "")
    except readable.Unreadable as error:
        raise AgentError(f"the artifacts of the {unit.kind} {unit.id} cannot be listed: {error}") from None


def _listed(client: Client, top: str, below: str, depth: int = 0) -> dict[str, int | None]:
    pieces: list[bytes] = []
    path = f"{top}/{below}".rstrip("/")
    try:
        answer = client.call(
            "GET", "/api/2.0/mlflow-artifacts/artifacts", query={"path": path}, sink=pieces.append, timeout=_TIMEOUT
        )
    except NoAnswer as error:
        raise readable.Unreadable(str(error)) from None
    if answer.status != 200:
        raise readable.Unreadable(f"answer {answer.status}")
    found: dict[str, int | None] = {}
    for entry in json.loads(b"".join(pieces) or b"{}").get("files", []):
        name = f"{below}/{entry['path'].rpartition('/')[2]}".lstrip("/")
        if entry.get("is_dir"):
            found.update(_listed(client, top, name, depth + 1) if depth < _DEEPEST else {})
        else:
            found[name] = int(entry.get("file_size") or 0)
    return found


def _direct(ours: Callable[[str], Place], relative: str) -> str:
    digest = hashlib.sha256()
    ours("").read(relative, digest.update)
    return digest.hexdigest()


def _unless(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise AgentError("stopped while the artifacts were read through the server", kind="interrupted")
