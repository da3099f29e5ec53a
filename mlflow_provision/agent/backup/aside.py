"""Calls that can be walked away from: SQLite or a silent network may take minutes for one, and hear no signal."""

from __future__ import annotations

import threading
from typing import Callable, Generic, TypeVar

from mlflow_provision.agent.backup.channel import LOOK, raise_if

_PATIENCE = 1.0  # seconds to hear of the interruption
Answer = TypeVar("Answer")


def aside(
    work: Callable[[], Answer], stopping: Callable[[], bool], interrupt: Callable[[], object] = lambda: None
) -> Answer:
    """What `work` returns or raises, in a thread that does not outlive the process. It must start no process.

    Raises AgentError of kind "interrupted" soon after somebody wants us to stop; `interrupt` tells `work` so.
    """
    worker = _Worker(work)
    worker.start()
    while worker.is_alive():
        try:
            raise_if(stopping)
        except BaseException:
            interrupt()
            worker.join(_PATIENCE)
            raise
        worker.join(LOOK)
    if worker.error:
        raise worker.error
    return worker.answer


class _Worker(threading.Thread, Generic[Answer]):
    answer: Answer

    def __init__(self, work: Callable[[], Answer]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.answer = self._work()
        except BaseException as error:
            self.error = error
