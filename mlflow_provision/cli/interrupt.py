"""Ctrl-C while the host works: once to stop after the current step, twice to leave at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from mlflow_provision.signals import handled

if TYPE_CHECKING:
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host


@contextmanager
def stoppable(console: Console, host: Host) -> Iterator[None]:
    """Within the block the first Ctrl-C asks the host to stop; the next one is an ordinary KeyboardInterrupt."""
    asked = False

    def stop() -> None:
        console.say("Stopping after the current step… (Ctrl-C again to leave at once)")
        host.interrupt()

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Not here: the signal may have come in the middle of a print, or of a lock of the connection.
        threading.Thread(target=stop, daemon=True).start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handled([signal.SIGINT], handle):
        yield
