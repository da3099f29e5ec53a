"""The index of the artifacts folder in a backup: a line of JSON for each file, folder and link, and where it is.

Paths are bytes on a host and may be anything but "/" and NUL; in JSON, bytes that are not UTF-8 are lone surrogates.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from typing import Any, Callable, Iterator

from mlflow_provision.agent.backup.channel import raise_if
from mlflow_provision.agent.backup.manifest import Manifest, Member
from mlflow_provision.agent.protocol import AgentError

FORMAT = 1
NAME = "artifacts.jsonl"  # of the member
FILE, FOLDER, LINK = "file", "folder", "link"
EMPTY = hashlib.sha256(b"").hexdigest()
_GZIP = b"\x1f\x8b"


def line(entry: dict[str, Any]) -> bytes:
    """One entry as it is written; `path` and `target` are bytes."""
    words = {name: text(value) if isinstance(value, bytes) else value for name, value in entry.items()}
    return json.dumps(words, separators=(",", ":")).encode() + b"\n"


def header() -> bytes:
    """The first line."""
    return line({"format": FORMAT})


def entries(path: str, where: str) -> Iterator[dict[str, Any]]:
    """The entries of an index file on this host, compressed or not. Raises AgentError of kind "damaged"."""
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == _GZIP
            plain.seek(0)
            with gzip.GzipFile(fileobj=plain) if packed else plain as lines:
                if json.loads(next(iter(lines), b""))["format"] != FORMAT:
                    raise ValueError("it is of another format")
                for content in lines:
                    yield _checked(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise AgentError(f"{where} is damaged: {error}", "use another backup: `backup list`", "damaged") from None


def plain_sum(path: str, stopping: Callable[[], bool]) -> str:
    """The SHA-256 of a compressed index as it was before. Raises OSError, EOFError or zlib.error."""
    digest = hashlib.sha256()
    with gzip.open(path, "rb") as content:
        while True:
            piece = content.read(1 << 20)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)
            raise_if(stopping)


def text(path: bytes) -> str:
    """A path for JSON."""
    return path.decode("utf-8", "surrogateescape")


def raw(path: str) -> bytes:
    """The path as the host has it. Raises ValueError for what cannot be one."""
    return path.encode("utf-8", "surrogateescape")


def shown(path: bytes) -> str:
    """A path for people: in one line, and nothing in it that moves the cursor."""
    words = path.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in words)


def member_of(manifest: Manifest) -> Member | None:
    """The index in this backup; None when artifacts are not part of it."""
    return manifest.member(NAME)


def pack_id(member: Member) -> str:
    """What entries call a pack: its name without the folder and `.tar`."""
    return member.name.rpartition("/")[2].partition(".")[0]


def stays_inside(path: bytes, target: bytes) -> bool:
    """Does a symbolic link at `path` lead to something in the folder? Each may only go up first, then down: so no
    chain of them leads out either."""
    if target.startswith(b"/") or not target:
        return False
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    ups = next((number for number, part in enumerate(parts) if part != b".."), len(parts))
    return ups <= path.count(b"/") and b".." not in parts[ups:]


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose path leads nowhere but into the folder, and whose numbers are numbers."""
    path = raw(entry["path"])
    parts = path.split(b"/")
    if b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise ValueError(f"it has the path {shown(path)!r}")
    kind = entry["kind"]
    if kind == LINK:
        return {"path": path, "kind": kind, "target": raw(entry["target"])}
    numbers = {"mode": entry["mode"], "mtime_ns": entry["mtime_ns"]}
    if kind == FILE:
        numbers.update(size=entry["size"], entry=entry["entry"])
    if not all(isinstance(number, int) for number in numbers.values()):
        raise ValueError(f"{shown(path)!r} has a size, time or mode that is none")
    if kind == FOLDER:
        return {"path": path, "kind": kind, **numbers}
    if kind != FILE:
        raise ValueError(f"{shown(path)!r} is neither file, folder nor link")
    words = {"sha256": str(entry["sha256"]), "pack": str(entry["pack"])}
    if entry["size"] < 0 or bool(entry["size"]) != bool(words["pack"]):  # what is empty is in no pack
        raise ValueError(f"{shown(path)!r} is nowhere")
    return {"path": path, "kind": kind, **numbers, **words, "fresh": bool(entry.get("fresh"))}
