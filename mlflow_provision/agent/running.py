"""Is the server that runs the one its files describe, and does it answer?"""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path
from typing import Callable

from mlflow_provision.agent import processes, sockets
from mlflow_provision.agent.protocol import AgentError

START_TIMEOUT = 180.0  # seconds; a first start on a small burstable box takes about a minute


def stale(started_with: str, watched: tuple[str, ...]) -> list[str]:
    """The watched files whose content is not what the running server was started with.

    The start script records sha256 sums as it starts, so this holds whoever started it, edited a file, or was killed
    half-way: no clocks, no memory of earlier runs.
    """
    try:
        lines = Path(started_with).read_text().splitlines()
    except OSError:
        return ["how it was started"]
    recorded = {line[66:]: line[:64] for line in lines if len(line) > 66}
    return [path for path in watched if recorded.get(path) != _sha256(path)]


def _sha256(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def health(url: str, timeout: float = 2.0) -> str:
    """ "" when the server answers /health with 200, else why not."""
    # By hand: http.client takes ten times as long to import as this takes to run, on every request to the agent.
    address, _, port = url.partition("://")[2].rpartition(":")
    try:
        with socket.create_connection((address.strip("[]"), int(port)), timeout=timeout) as connection:
            connection.sendall(f"GET /health HTTP/1.0\r\nHost: {address}:{port}\r\n\r\n".encode())
            status_line = connection.makefile("rb").readline(200).split()
    except OSError as error:
        return f"no answer: {error.strerror or error}"
    if len(status_line) < 2 or not status_line[0].startswith(b"HTTP/"):
        return "what answers on its port does not speak HTTP"
    return "" if status_line[1] == b"200" else f"/health answers {status_line[1].decode('ascii', 'replace')}"


def wait_healthy(
    url: str,
    died: Callable[[], str],
    stopping: Callable[[], bool],
    timeout: float = START_TIMEOUT,
    ours: Callable[[int], bool] = lambda pid: True,
) -> None:
    """Wait until the server answers. `died` says why it never will ("" while it may); its words end the wait. `ours`:
    is this a process of the server?"""
    deadline = time.monotonic() + timeout
    next_look = time.monotonic() + 0.5
    while True:
        reason = health(url) or _stranger(url, ours)
        if not reason:
            return
        if time.monotonic() > next_look:
            last_words = died()
            if last_words:
                raise _crashed(last_words, _stranger(url, ours))
            next_look = time.monotonic() + 0.5
        if stopping():
            raise AgentError("stopped while the server was starting", "run the same command again", "interrupted")
        if time.monotonic() > deadline:
            raise AgentError(f"the server is running but not healthy after {timeout:.0f} s: {reason}", kind="unhealthy")
        time.sleep(0.1)


def _crashed(last_words: str, stranger: str) -> AgentError:
    died = f"the server started and died:\n{last_words}"
    if not stranger:
        return AgentError(died, kind="crashed")
    hint = "end that, or choose another port: mlflow-provision setup NAME --port PORT"
    return AgentError(f"{died}\n{stranger}", hint, "crashed")


def _stranger(url: str, ours: Callable[[int], bool]) -> str:
    """Who answers in the server's place; "" when it is the server, or when this system does not tell who listens."""
    port = int(url.rpartition(":")[2])
    pids = [sockets.owner(listener.inode) for listener in sockets.listening_on(port)]
    if not pids or any(pid and ours(pid) for pid in pids):
        return ""
    return f"port {port} is held by {processes.name(pids[0])}"


_NOISE = ("Deprecat", "from starlette", "Registry store URI", "[MLflow] Security", "systemd[", "rich:")


def relevant(lines: list[str], limit: int = 20) -> str:
    """The lines of a log that tell why: the end of the last traceback if there is one, else the last lines. One that is
    still being written tells nothing yet: then it is the one before."""
    kept = [line.rstrip() for line in lines if line.strip() and not any(noise in line for noise in _NOISE)]
    begins = [number for number, line in enumerate(kept) if "Traceback (most recent call last)" in line]
    end = len(kept)
    for begin in reversed(begins):
        # Frames are indented; what is not is the exception and whatever came after it.
        told = [line for line in kept[begin + 1 : end] if not line.startswith(" ")]
        if told:
            return "\n".join(told[:limit])
        end = begin
    last = kept[begins[-1] + 1 :] if begins else kept
    return "\n".join(last[-limit:])
