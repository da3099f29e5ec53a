"""Who changed what on this host, and when: lines of JSON in the root folder, only ever added to.

Each line carries the sha256 of the one before it, so that one that was changed or taken out shows; where the filesystem
can, root's file may be appended to by nobody but root, and overwritten by nobody (chattr +a).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import struct
import time
from pathlib import Path
from typing import Any, Callable, Iterator

from mlflow_provision.agent.protocol import CHANGED, AgentError, Event, Result, in_words

FILE = "audit.jsonl"
_GET_FLAGS, _SET_FLAGS, _APPEND_ONLY = 0x80086601, 0x40086602, 0x20  # include/uapi/linux/fs.h
_MOST = 50  # changes in one line
_ANCESTORS = 20

Emit = Callable[[Event], None]


@contextlib.contextmanager
def recorded(data: dict[str, Any], operator: str, emit: Emit) -> Iterator[Emit]:
    """Note that a request begins, and how it ends: `data["audit"]` says where, and of which deployment. Without it
    nothing is noted. What it changed is learnt from the events that pass through the answer."""
    wish = data.get("audit")
    if not wish:
        yield emit
        return
    changes: list[str] = []

    def listening(event: Event) -> None:
        if isinstance(event, Result) and event.verdict == CHANGED and len(changes) < _MOST:
            changes.append(f"{event.title}: {event.summary}" if event.summary else event.title)
        emit(event)

    started = time.monotonic()
    who = {"deployment": wish["deployment"], "what": data["what"], "operator": operator, **_login()}
    begun = {"id": secrets.token_hex(4), "at": _now(), "event": "begun", **who}
    noted = _noted(wish["path"], begun)
    outcome: dict[str, Any] = {"event": "failed", "message": "it ended without a word"}
    try:
        yield listening
        outcome = {"event": "done"}
    except (AgentError, OSError) as error:
        message = error.message if isinstance(error, AgentError) else in_words(error)
        outcome = {"event": "failed", "message": message}
        raise
    finally:
        if not noted:  # there was no folder for it before
            noted = _noted(wish["path"], begun)
        ended = {"id": begun["id"], "at": _now(), **outcome, "seconds": round(time.monotonic() - started, 1)}
        if noted:
            _noted(wish["path"], {**ended, "changes": changes})


def read(path: str) -> tuple[list[dict[str, Any]], list[str]]:
    """All lines, oldest first, and what is wrong with the chain of them, in words."""
    try:
        lines = Path(path).read_bytes().splitlines()
    except FileNotFoundError:
        return [], []
    found: list[dict[str, Any]] = []
    problems = []
    before = ""
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            told = entry.pop("before")
        except (ValueError, KeyError, AttributeError, TypeError):
            problems.append(f"line {number} is no entry of ours")
            before = _sum(line)
            continue
        if told != before:
            problems.append(f"what was before line {number} was changed or taken out")
        before = _sum(line)
        found.append(entry)
    return found, problems


def serve(data: dict[str, Any], operator: str, emit: Emit, stopping: Callable[[], bool]) -> dict[str, Any]:
    """The verb `audit`: `{"entries", "problems"}` of the file `data["path"]`."""
    entries, problems = read(os.path.expanduser(data["path"]))
    return {"entries": entries, "problems": problems}


def unprotect(path: str) -> None:
    """For the day when nothing of ours stays on the host: afterwards the log can be removed."""
    if os.path.basename(path) == FILE:
        _protect(path, False)


def _noted(path: str, entry: dict[str, Any]) -> bool:
    """Add a line. False where there is no folder for it; a log that cannot be written stops nobody's repair."""
    if not os.path.isdir(os.path.dirname(path)):
        return False
    with contextlib.suppress(OSError):
        fresh = not os.path.exists(path)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            line = json.dumps({**entry, "before": _sum(_last(descriptor))}, ensure_ascii=True)
            os.write(descriptor, line.encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if fresh and os.geteuid() == 0:
            _protect(path, True)
        return True
    return False


def _last(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    length = 1 << 16
    while True:
        tail = os.pread(descriptor, min(length, size), max(0, size - length)).rstrip(b"\n")
        if b"\n" in tail or length >= size:
            return tail.rpartition(b"\n")[2]
        length *= 2


def _sum(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest() if line else ""


def _protect(path: str, on: bool) -> None:
    # Not every filesystem has the flag, and in a container root may not set it.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flags = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0)))[0]
            flags = flags | _APPEND_ONLY if on else flags & ~_APPEND_ONLY
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags))
        finally:
            os.close(descriptor)


def _login() -> dict[str, str]:
    """Whom the host itself knows: `operator` is what the other side says of itself."""
    login = os.environ.get("SUDO_USER", "")
    if not login:
        try:
            login = pwd.getpwuid(os.geteuid()).pw_name
        except KeyError:
            login = str(os.geteuid())
    return {"login": login, "from": _address()}


def _address() -> str:
    """Where the SSH connection comes from, which sudo takes out of the environment; "" where there is none."""
    pid = os.getpid()
    for _ in range(_ANCESTORS):
        try:
            for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if word.startswith(b"SSH_CONNECTION="):
                    return os.fsdecode(word.partition(b"=")[2].split()[0])
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return ""
        if pid <= 1:
            return ""
    return ""


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
