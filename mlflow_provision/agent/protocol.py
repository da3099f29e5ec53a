"""What travels between the operator's side and the agent: one JSON request in, JSON lines of events out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Union

# The agent skips every line before this one: sudo may or may not have consumed the password that precedes it.
PREAMBLE = "MLFLOW-PROVISION"

OK = "ok"
CHANGED = "changed"
FAILED = "failed"
SKIPPED = "skipped"


class AgentError(Exception):
    """A failure on the host that a person can act on. `kind` lets programs tell failures apart (`locked`, …)."""

    def __init__(self, message: str, hint: str = "", kind: str = "failed") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind = kind


def in_words(error: OSError) -> str:
    """An error of the operating system for people: `No space left on device: /opt/mlflow/bin/uv`."""
    return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")


def way_out(error: OSError) -> str:
    """The command that shows a person why the operating system refused."""
    import errno
    import shlex

    if not error.filename:
        return "run the same command again; if it stays, see the host's log: sudo journalctl -n 50"
    path = shlex.quote(str(error.filename))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free some space on the host, then run the same command again: df -h {path}; df -i {path}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"see on the host whose it is and how its disk is mounted: ls -ld {path}; findmnt -T {path}"
    return f"see on the host what is there: ls -ld {path}"


def words(error: BaseException) -> tuple[str, str, str]:
    """Message, hint and kind of whatever went wrong. What a bug quotes may be anything, also a secret."""
    if isinstance(error, AgentError):
        return error.message, error.hint, error.kind
    if isinstance(error, OSError):
        return in_words(error), way_out(error), "failed"
    return f"unexpected, a bug of ours: {type(error).__name__}", "", "failed"


@dataclass(frozen=True)
class Start:
    """A step begins."""

    step: str
    title: str


@dataclass(frozen=True)
class Output:
    """A line printed by a long-running step."""

    step: str
    line: str


@dataclass(frozen=True)
class Progress:
    """How far a step has come: `done` of `total` bytes (0: nobody knows how many there will be)."""

    step: str
    done: int
    total: int = 0


@dataclass(frozen=True)
class Ask:
    """The agent needs something of the operator's side; the reply carries the same id: see operator_link."""

    call: str
    arguments: dict[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""


@dataclass(frozen=True)
class Result:
    """A step has ended. `verdict` is ok, changed, failed or skipped; in a plan, `changed` means "would change"."""

    step: str
    title: str
    verdict: str
    seconds: float = 0.0
    summary: str = ""
    diff: str = ""


@dataclass(frozen=True)
class Done:
    """The last event of a request: its data, or the error that ended it."""

    data: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] | None = None
    seconds: float = 0.0


Event = Union[Start, Output, Progress, Ask, Result, Done]
_EVENTS: dict[str, type[Any]] = {
    "start": Start,
    "output": Output,
    "progress": Progress,
    "ask": Ask,
    "result": Result,
    "done": Done,
}
_NAMES = {cls: name for name, cls in _EVENTS.items()}


def encode(event: Event) -> str:
    """One event as one line of JSON."""
    return json.dumps({"event": _NAMES[type(event)], **asdict(event)}, ensure_ascii=True)


def decode(line: str) -> Event:
    """The event in one line of JSON. Raises ValueError for anything else."""
    data = json.loads(line)
    if not isinstance(data, dict) or data.get("event") not in _EVENTS:
        raise ValueError("not an event: " + line[:200])
    event: Event = _EVENTS[data.pop("event")](**data)
    return event
