"""A server program that lives as long as a `with` block, and never longer than this process."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.program import LabError


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    argv: Sequence[str], *, address: str, port: int, log: Path, environment: Mapping[str, str]
) -> Iterator[None]:
    """Run `argv` until the block ends; enter the block when it accepts connections."""
    with log.open("ab") as output:
        # the kernel ends it when we are killed and cannot
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
    try:
        _wait_for_port(process, address, port, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], address: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:]
                raise LabError(f"{process.args!r} does not answer on port {port}; it said:\n{said}") from None
            time.sleep(0.05)
