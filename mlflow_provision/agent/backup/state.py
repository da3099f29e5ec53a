"""What a host remembers about its backups: who works on them, what happened last, what a killed run has left."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import time
from pathlib import Path
from typing import Any, Iterator

from mlflow_provision.agent import lock
from mlflow_provision.agent.protocol import AgentError, in_words, way_out

_LAST = "last.json"
_UNFINISHED = "unfinished.json"
_HINT = "run the same command again: nothing of it is listed, and what it left is removed"
_working: set[str] = set()  # folders of state that this process holds


@contextlib.contextmanager
def working(state: str, what: str, operator: str = "") -> Iterator[str]:
    """One at a time: hold the lock, and give a scratch folder that is empty now and gone afterwards.

    Within itself it is entered again for free. Raises AgentError of kind "locked", which says who is at work.
    """
    scratch = os.path.join(state, "scratch")
    if state in _working:
        yield scratch
        return
    Path(state).mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.held(os.path.join(state, "lock"), operator or _ourselves(), what):
        _working.add(state)
        try:
            _remove(scratch)
            os.mkdir(scratch, 0o700)
            yield scratch
        finally:
            _working.remove(state)
            _remove(scratch)


@contextlib.contextmanager
def noting(state: str, what: str, title: str) -> Iterator[None]:
    """What goes wrong within is told in words, and noted as `failed` does; being asked to stop is no failure."""
    try:
        yield
    except (AgentError, OSError) as raised:
        error = raised if isinstance(raised, AgentError) else AgentError(in_words(raised), way_out(raised))
        if error.kind != "interrupted":
            with contextlib.suppress(OSError):
                failed(state, what, title, error)
        raise error from None


def last(state: str) -> dict[str, Any]:
    """What happened last: "made", "verified", "pruned", and "failed": the newest failure that no success of its kind
    has followed, or None. A backup that was killed is one."""
    noted = _read(os.path.join(state, _LAST))
    failures = [*noted.pop("failures", {}).values(), *_killed(state)]
    noted["failed"] = max(failures, key=_moment, default=None)
    return noted


def succeeded(state: str, what: str, **facts: Any) -> None:
    """Note that one of "made", "verified", "pruned" happened now."""
    noted = _read(os.path.join(state, _LAST))
    noted[what] = {"at": time.time(), **facts}
    noted.get("failures", {}).pop(what, None)
    _write(os.path.join(state, _LAST), noted)


def failed(state: str, what: str, title: str, error: AgentError) -> None:
    """Note a failure of what would have been noted as `what`; `title` is what people call it: "backup"."""
    noted = _read(os.path.join(state, _LAST))
    failure = {"at": time.time(), "message": error.message, "hint": error.hint, "what": title}
    noted.setdefault("failures", {})[what] = failure
    _write(os.path.join(state, _LAST), noted)


def unfinished(state: str) -> dict[str, Any]:
    """The backup that is being written, or that a killed run has left: see `begin`. {}: there is none."""
    return _read(os.path.join(state, _UNFINISHED))


def begin(state: str, backup: str, place: str) -> None:
    """Note that from now on objects of a backup are put into a place."""
    _write(os.path.join(state, _UNFINISHED), {"id": backup, "place": place, "at": time.time(), "objects": []})


def add(state: str, key: str) -> None:
    """Note that an object of it is about to be put."""
    noted = unfinished(state)
    noted["objects"].append(key)
    _write(os.path.join(state, _UNFINISHED), noted)


def end(state: str) -> None:
    """There is nothing unfinished any more."""
    Path(state, _UNFINISHED).unlink(missing_ok=True)


def _killed(state: str) -> list[dict[str, Any]]:
    left = unfinished(state)
    if not left or lock.is_held(os.path.join(state, "lock")):
        return []
    message = f"the backup {left['id']} did not come to its end: it was killed, or the host went down"
    return [{"at": left["at"], "message": message, "hint": _HINT, "what": "backup"}]


def _ourselves() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _moment(failure: dict[str, Any]) -> float:
    return float(failure["at"])


def _read(path: str) -> dict[str, Any]:
    """What was noted; {} when nothing was, or nothing that can be read: a host may lose its power at any time."""
    try:
        content = json.loads(Path(path).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: str, content: dict[str, Any]) -> None:
    new = f"{path}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(descriptor)
    os.replace(new, path)


def _remove(folder: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
