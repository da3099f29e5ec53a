"""Waiting for what others do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from mlflow_provision.host.program import READY
from tests.lab import LabHost

T = TypeVar("T")
PATIENCE = 240.0  # seconds, on a busy machine; on a quiet one nothing here takes longer than 20
AGENT = READY  # is in the agent's bootstrap, so `pgrep -f` finds it


def until(
    reached: Callable[[], T],
    otherwise: Callable[[], object] = lambda: "it never came",
    *,
    process: subprocess.Popen[str] | None = None,
    pause: float = 0.02,
    within: float = PATIENCE,
) -> T:
    """What `reached` gives, once that is true. `process` is the one that works on it: when it has ended it never will
    be. `otherwise` says why it is not. `within` so many seconds, where later would be wrong."""
    deadline = time.monotonic() + within
    while not (found := reached()):
        assert process is None or process.poll() is None, (otherwise(), process and process.communicate())
        assert time.monotonic() < deadline, otherwise()
        time.sleep(pause)
    return found


def until_no_agent(host: LabHost) -> None:
    """Whoever was left alone there has done what they could."""
    until(lambda: not host.run(["pgrep", "-f", AGENT], check=False).stdout, lambda: "the agent never ended", pause=0.1)
