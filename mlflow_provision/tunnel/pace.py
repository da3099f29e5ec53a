"""How often a tunnel is looked at, and how long is waited before the next try."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Seconds."""

    tick: float = 0.1
    check_up: float = 5.0
    check_down: float = 1.0
    answer: float = 4.0  # for an answer of MLflow
    answer_awake: float = 2.0  # the same after this machine was asleep: then the link is most likely dead
    last_gasp: float = 0.5  # from an ssh that hangs up on its clients to its end, when it is that which ends
    stalled: float = 16.0  # longer than SSH needs to notice a dead link: after this, it is MLflow
    connect: float = 30.0  # for a whole connection, gateways included, where nobody has to type anything
    first_delay: float = 1.0
    longest_delay: float = 5.0  # more would miss the target: back within 10 s after the link is


class Backoff:
    """1, 2, 4, 5, 5, … seconds, each shortened by up to a quarter so that many tunnels do not knock at once."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._next = pace.first_delay

    def reset(self) -> None:
        self._next = self._pace.first_delay

    def delay(self) -> float:
        delay, self._next = self._next, min(self._next * 2, self._pace.longest_delay)
        return delay * random.uniform(0.75, 1.0)  # noqa: S311


class SleepWatch:
    """Notices that this machine was asleep: the clock on the wall went on, the monotonic one did not."""

    JUMP = 5.0  # a clock that is set by less is no sleep

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._ahead = wall() - time.monotonic()

    def slept(self) -> bool:
        """Since the last call."""
        ahead = self._wall() - time.monotonic()
        jumped = ahead - self._ahead > self.JUMP
        self._ahead = ahead
        return jumped
