"""Keeps one tunnel alive: starts ssh, asks MLflow through it, and mends what can be mended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mlflow_provision.tunnel.command import command
from mlflow_provision.tunnel.pace import Backoff, Pace, SleepWatch
from mlflow_provision.tunnel.ports import is_free
from mlflow_provision.tunnel.probe import Answer, Login, healthy, is_mlflow
from mlflow_provision.tunnel.refusals import Ending, port_taken, prohibited, why_it_ended
from mlflow_provision.tunnel.ssh import Ssh
from mlflow_provision.tunnel.states import State, Status

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

_REFUSALS_OF_A_FRIEND = 3  # a host that let us in before may be in the middle of its boot


class Listener(Protocol):
    def changed(self, status: Status) -> None:
        """The tunnel came into another state."""

    def seen(self, status: Status) -> None:
        """About once a second: bytes and last check are new."""


class Supervisor:
    """Call `run()` once, in the main thread. `asked_to_end` is asked often, and answers with a reason or nothing."""

    def __init__(
        self,
        deployment: Deployment,
        login: Login,
        status: Status,
        listener: Listener,
        asked_to_end: Callable[[], str] = lambda: "",
        asks: bool = False,
        pace: Pace | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._deployment = deployment
        self._login = login
        self._listener = listener
        self._asked_to_end = asked_to_end
        self._asks = asks
        self._pace = pace or Pace()
        self._backoff = Backoff(self._pace)
        self._wall = wall
        self._sleep_watch = SleepWatch(wall)
        self._ever_connected = False
        self._refusals = 0
        self._bytes_before = 0  # through the ssh processes that are over
        self.status = status

    def run(self) -> Status:
        """Until somebody ends it, or nothing can be done; returns the final status."""
        self._enter(State.CONNECTING)
        while not self.status.state.final:
            if not is_free(self.status.port):
                self._end_with(port_taken(self.status.port, self._deployment.name))
                break
            self._one_connection()
        return self.status

    def _one_connection(self) -> None:
        """The life of one ssh, and the pause after it."""
        ssh = Ssh(command(self._deployment, self.status.port, self._asks))
        try:
            reason = self._watch(ssh)
            ending = None if self.status.state.final else self._ending(ssh, reason)
        finally:
            ssh.end()
            self._bytes_before += ssh.carried or 0
        if ending is not None:
            self._after(ending)

    def _watch(self, ssh: Ssh) -> str:
        """Until ssh ends, or must be ended: then the reason for it."""
        began, look = time.monotonic(), _Looks(self._pace)
        while ssh.alive and not self.status.state.final:
            if self._told_to_stop():
                return ""
            slept = self._sleep_watch.slept()
            now = time.monotonic()
            if ssh.listens:
                self._ever_connected = True
                self._refusals = 0
                if slept or look.due(now, self.status.state, ssh.refused_channels):
                    answer = self._ask(self._pace.answer_awake if slept else self._pace.answer)
                    look.done(time.monotonic(), ssh.refused_channels)
                    if slept and answer in (Answer.NOTHING, Answer.HUNG_UP):
                        self._backoff.reset()
                        return "this machine was asleep, and the link did not survive it"
                    if ssh.alive and not self._ssh_is_ending(ssh, answer):
                        self._judge(answer, ssh)
            elif not self._asks and now - began > self._pace.connect:
                return f"it does not answer within {self._pace.connect:.0f} s"
            self._seen(ssh)
            time.sleep(self._pace.tick)
        return ""

    def _ssh_is_ending(self, ssh: Ssh, answer: Answer) -> bool:
        """An ssh that ends hangs up first: is it that, and not MLflow, that went away?"""
        news = answer is Answer.HUNG_UP and self.status.state is not State.MLFLOW_DOWN
        return news and ssh.ends_within(self._pace.last_gasp)

    def _ask(self, timeout: float) -> Answer:
        """What is up is asked cheaply; what was not must prove that it is MLflow."""
        if self.status.state is State.UP:
            return healthy(self.status.port, timeout)
        return is_mlflow(self.status.port, self._login, timeout)

    def _judge(self, answer: Answer, ssh: Ssh) -> None:
        place = f"{self.status.remote} on {self._deployment.host}"
        if answer in (Answer.MLFLOW, Answer.LOGIN_REFUSED):
            self._backoff.reset()
            self.status = self.status.with_changes(checked=self._wall())
            note = "it refuses the password that is stored here" if answer is Answer.LOGIN_REFUSED else ""
            if self.status.state is not State.UP:
                self._enter(State.UP, note)
        elif answer is Answer.NOTHING:
            self._no_answer(place)
        elif answer is Answer.HUNG_UP:
            if any("administratively prohibited" in line for line in ssh.said):
                self._end_with(prohibited(self._deployment))
            else:
                self._enter(State.MLFLOW_DOWN, f"nothing answers at {place}")
        elif answer is Answer.UNWELL:
            self._enter(State.MLFLOW_DOWN, f"MLflow at {place} answers with an error")
        else:
            self._enter(State.MLFLOW_DOWN, f"another program than MLflow answers at {place}")

    def _no_answer(self, place: str) -> None:
        if self.status.state not in (State.STALLED, State.MLFLOW_DOWN):
            self._enter(State.STALLED, "nothing comes back; waiting for the link or for MLflow")
        elif self.status.state is State.STALLED and self._wall() - self.status.since > self._pace.stalled:
            self._enter(State.MLFLOW_DOWN, f"SSH is fine, but MLflow at {place} gives no answer")

    def _ending(self, ssh: Ssh, reason: str) -> Ending:
        if reason:
            return Ending(State.WAITING, f"{self._deployment.host}: {reason}")
        return why_it_ended(ssh.last_words(), self._deployment, self.status.port, self._asks)

    def _after(self, ending: Ending) -> None:
        """Try again after a pause, or give up."""
        if ending.state is State.REFUSED and self._ever_connected:
            self._refusals += 1
            if self._refusals < _REFUSALS_OF_A_FRIEND:
                ending = Ending(State.WAITING, ending.reason)
        if ending.state is State.WAITING and not self._ever_connected:
            hint = f"see why: ssh -v {self._deployment.host}"
            ending = Ending(State.UNREACHABLE, f"cannot reach {ending.reason}", hint)
        if ending.state is not State.WAITING:
            self._end_with(ending)
            return
        if self.status.state is State.WAITING:
            self.status = self.status.with_changes(reason=ending.reason)
        else:
            self.status = self.status.with_changes(reconnects=self.status.reconnects + 1)
            self._enter(State.WAITING, ending.reason)
        self._pause(self._backoff.delay())

    def _pause(self, seconds: float) -> None:
        """Shorter when the machine wakes up, or somebody ends it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._told_to_stop():
            if self._sleep_watch.slept():
                self._backoff.reset()
                return
            self._seen(None)
            time.sleep(self._pace.tick)

    def _told_to_stop(self) -> bool:
        reason = self._asked_to_end()
        if reason:
            self._enter(State.STOPPED, reason)
        return bool(reason)

    def _end_with(self, ending: Ending) -> None:
        self.status = self.status.with_changes(hint=ending.hint)
        self._enter(ending.state, ending.reason)

    def _enter(self, state: State, reason: str = "") -> None:
        """Tell of a new state; the same again is no news, but its reason may be newer."""
        if state is self.status.state and self.status.since:
            self.status = self.status.with_changes(reason=reason)
            return
        self.status = self.status.with_changes(state=state, reason=reason, since=self._wall())
        self._listener.changed(self.status)

    def _seen(self, ssh: Ssh | None) -> None:
        through = ssh.carried if ssh and ssh.listens else 0
        total = None if through is None else self._bytes_before + through
        self.status = self.status.with_changes(bytes=total)
        self._listener.seen(self.status)


class _Looks:
    """When MLflow is to be asked again: after a while, or because a client was just turned away."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._last: float | None = None
        self._refused = 0

    def due(self, now: float, state: State, refused: int) -> bool:
        if self._last is None:
            return True
        sooner = state is not State.UP or refused > self._refused
        return now - self._last >= (self._pace.check_down if sooner else self._pace.check_up)

    def done(self, now: float, refused: int) -> None:
        self._last, self._refused = now, refused
