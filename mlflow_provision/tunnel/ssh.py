"""One running `ssh`: when its port is open, what it said, what went through it, and that it dies with us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

_LISTENS = re.compile(r"forwarding listening on")
_CHANNEL_REFUSED = re.compile(r"open failed: connect failed|open failed: administratively prohibited")
_SESSION = "Entering interactive session"
_OF_EACH_CONNECTION = (b"debug1: channel ", b"debug1: Connection to port")
_LINES_KEPT = 60
_HEAP = 0.05  # seconds; the pipe holds some hundred lines
_PR_SET_PDEATHSIG = 1


class Ssh:
    """Start it in the main thread: the kernel ends it with the thread that started it."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.said: deque[str] = deque(maxlen=_LINES_KEPT)
        self.listens = False  # the local port is open, and is ssh's
        self.refused_channels = 0  # connections that the host took, and the server did not
        self._first_bytes = 0
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "LC_ALL": "C"},  # the reasons it gives are read
            preexec_fn=_die_with_parent(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ends_within(self, seconds: float) -> bool:
        """Has it ended by then?"""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.alive

    @property
    def carried(self) -> int | None:
        """What went through it, both ways, since the port was opened.

        OpenSSH does not count for us; the kernel counts what its process writes, and all that comes through is
        written once: to the host or to the client. What it says to us and our own checks are in it: some kB.
        Only Linux tells.
        """
        written = _written(self.pid)
        return None if written is None else max(0, written - self._first_bytes)

    def last_words(self) -> list[str]:
        """What it said, complete once it has ended."""
        if not self.alive:
            self._reader.join(1)
        return list(self.said)

    def end(self) -> None:
        """End it, and wait until it is gone: then its port is free."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1)

    def _read(self) -> None:
        """ssh writes some lines for each connection. Once it listens they are read in heaps, so that we do not wake up
        for every request of a client."""
        errors = self._process.stderr
        if errors is None:
            return
        rest = b""
        while data := os.read(errors.fileno(), 1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(line)
            if self.listens:
                time.sleep(_HEAP)
        self._take(rest)
        errors.close()

    def _take(self, line: bytes) -> None:
        if line.startswith(_OF_EACH_CONNECTION) or not line:
            return
        text = line.decode("utf-8", "replace").rstrip()
        if _CHANNEL_REFUSED.search(text):
            self.refused_channels += 1
        if not self.listens and (_LISTENS.search(text) or _SESSION in text):
            self._first_bytes = _written(self.pid) or 0
            self.listens = True
        self.said.append(text)


def _written(pid: int) -> int | None:
    try:
        found = re.search(r"^wchar: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux the kernel sends ssh a SIGTERM when we are gone, however we went; elsewhere it may outlive a kill -9."""
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()  # loaded here: little may be done between fork and exec

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask
