"""What can be said of a tunnel at any moment."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any


class State(str, Enum):
    """The first five change into each other by themselves; the others are ends."""

    CONNECTING = "connecting"
    UP = "up"  # MLflow answers through it
    STALLED = "stalled"  # nothing comes back; is it the link, or MLflow? SSH finds out within 15 s
    MLFLOW_DOWN = "mlflow-down"  # SSH is fine, MLflow does not answer
    WAITING = "waiting"  # the host cannot be reached, or the link was lost; the next try is near

    REFUSED = "refused"  # the host does not let us in: trying again would not help
    HOST_KEY = "host-key"  # the host is unknown, or is not the one we know
    PORT_TAKEN = "port-taken"  # another program has the local port
    UNREACHABLE = "unreachable"  # the very first connection was not possible
    FAILED = "failed"  # ssh itself cannot do what we ask
    STOPPED = "stopped"  # by a person

    @property
    def final(self) -> bool:
        return self in _FINAL

    @property
    def connected(self) -> bool:
        """Does SSH stand, as far as we know?"""
        return self in (State.UP, State.STALLED, State.MLFLOW_DOWN)


_FINAL = (State.REFUSED, State.HOST_KEY, State.PORT_TAKEN, State.UNREACHABLE, State.FAILED, State.STOPPED)


@dataclass(frozen=True)
class Status:
    """A tunnel as its supervisor sees it; kept in the state file. Times are seconds since 1970. No secret is in it."""

    name: str
    host: str
    remote: str  # where it ends, as the host sees it: 127.0.0.1:5000
    port: int  # on this machine
    state: State = State.CONNECTING
    reason: str = ""  # why it is in this state, in words
    hint: str = ""  # of a final state: what to type
    since: float = 0.0  # when it came into this state
    started: float = 0.0
    checked: float | None = None  # when MLflow last answered
    bytes: int | None = None  # through the tunnel, both ways; None where the system does not tell
    reconnects: int = 0
    pid: int = 0  # of the supervisor; for people, never to decide anything
    mode: str = "foreground"  # foreground, background, or leased: ends with those who use it
    token: str = ""  # tells this run of the supervisor from all others

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def with_changes(self, **changes: Any) -> Status:
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "state": self.state.value, "url": self.url}


def from_json(data: dict[str, Any]) -> Status:
    """Raises KeyError, TypeError or ValueError for what is not a status."""
    known = {key: value for key, value in data.items() if key in Status.__dataclass_fields__}
    return Status(**{**known, "state": State(data["state"])})
