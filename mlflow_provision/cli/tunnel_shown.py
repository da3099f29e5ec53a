"""How a tunnel looks: a line for each change, a line that moves, a row of a list, one JSON object per event."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from mlflow_provision.cli.program import program
from mlflow_provision.console.text import plural, size
from mlflow_provision.tunnel.states import State, Status

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment
    from mlflow_provision.console import Console

_WORDS = {
    State.CONNECTING: "connecting",
    State.UP: "up",
    State.STALLED: "no answer",
    State.MLFLOW_DOWN: "MLflow down",
    State.WAITING: "link lost",
    State.STOPPED: "ended",
}


class Shown:
    """Listens to the supervisor of a tunnel in the foreground."""

    TOLD_EVERY = 60.0  # seconds between the events of --json while nothing changes

    def __init__(self, console: Console, deployment: Deployment) -> None:
        self._console = console
        self._deployment = deployment
        self._told = 0.0

    def changed(self, status: Status) -> None:
        console = self._console
        console.document.details["tunnel"] = status.as_json()
        self._event("state", status)
        console.still()
        if status.state.final and status.state is not State.STOPPED:
            return  # told as an error
        console.say(f"{clock(status.since)}  {sentence(status, self._deployment)}", _style(status.state))

    def seen(self, status: Status) -> None:
        self._console.document.details["tunnel"] = status.as_json()
        if time.monotonic() - self._told >= self.TOLD_EVERY:
            self._event("alive", status)
        if console_may_move(self._console, status.state):
            self._console.moving(f"{word(status.state)} since {clock(status.since)}", _figures(status))

    def ended(self, how: str) -> None:
        """By Ctrl-C, which the supervisor does not live to see."""
        self._console.still()
        self._console.document.details.setdefault("tunnel", {}).update({"state": State.STOPPED.value, "reason": how})
        self._console.say(f"{clock(time.time())}  {how}: {self._deployment.name} is not reached any more")

    def _event(self, kind: str, status: Status) -> None:
        self._told = time.monotonic()
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self._console.event({"event": kind, "time": at, **public(status)})


def console_may_move(console: Console, state: State) -> bool:
    """While ssh makes a connection it may ask the person at the terminal, and nothing may be drawn over that."""
    return not (console.asks and state in (State.CONNECTING, State.WAITING))


def public(status: Status) -> dict[str, Any]:
    """What an event tells."""
    kept = ("name", "host", "port", "url", "state", "reason", "hint", "since", "checked", "bytes", "reconnects")
    everything = status.as_json()
    return {key: everything[key] for key in kept}


def sentence(status: Status, deployment: Deployment) -> str:
    """A change, for people."""
    if status.state is State.CONNECTING:
        return f"connecting to {status.host}"
    if status.state is State.UP:
        again = "up again" if status.reconnects else "up"
        note = f" ({status.reason})" if status.reason else ""
        return f"{again}: {status.url} is MLflow of {deployment.name}{note}"
    if status.state is State.WAITING:
        return f"link lost, trying again until it is back: {status.reason}"
    return f"{word(status.state)}: {status.reason}"


def say_where(console: Console, status: Status) -> None:
    """A tunnel in the background was just opened."""
    note = f" ({status.reason})" if status.reason else ""
    console.say(f"The tunnel to {status.name} is up, in the background{note}:", "good")
    console.say(f"  Web page  {status.url}")
    console.say(f"  Python    {program()} run {status.name} -- python train.py")
    console.say(f'  Shell     eval "$({program()} env {status.name})"')
    console.say(f"  End it    {program()} tunnel --stop {status.name}")


def already(console: Console, status: Status) -> None:
    """A second `tunnel NAME`."""
    where = "in the foreground of another terminal" if status.mode == "foreground" else "in the background"
    console.say(
        f"A tunnel to {status.name} runs already, {where}, since {clock(status.started)}: {status.url} "
        f"({word(status.state)})"
    )


def row(status: Status) -> list[str]:
    """Of `tunnel --list`."""
    counted = size(status.bytes) if status.bytes is not None else "?"
    state = word(status.state) + ("" if status.state is State.UP or not status.reason else f": {status.reason}")
    return [status.name, status.url, state, clock(status.since), counted, status.host]


def word(state: State) -> str:
    return _WORDS.get(state, state.value)


def clock(at: float) -> str:
    """The time; with the day if that is not today."""
    then = datetime.fromtimestamp(at)
    return then.strftime("%H:%M:%S" if then.date() == datetime.now().date() else "%Y-%m-%d %H:%M:%S")


def _figures(status: Status) -> str:
    parts = [size(status.bytes)] if status.bytes is not None else []
    if status.checked:
        parts.append(f"checked {max(0, round(time.time() - status.checked))} s ago")
    if status.reconnects:
        parts.append(f"reconnected {plural(status.reconnects, 'time')}")
    if status.state is not State.UP and status.reason:
        parts.append(status.reason)
    return " · ".join(parts)


def _style(state: State) -> str:
    return {State.UP: "good", State.CONNECTING: "", State.STOPPED: ""}.get(state, "bad")
