"""A person at a terminal: the real program in a pseudo-terminal, and the screen that they see."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pexpect
import pyte

KEYS = {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "pagedown": "\x1b[6~",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "enter": "\r",
    "esc": "\x1b",
    "tab": "\t",
    "backspace": "\x7f",
    "ctrl-c": "\x03",
    "ctrl-d": "\x04",
    "ctrl-u": "\x15",
}


class Terminal:
    """Runs `argv` until the `with` block ends. What it draws is read whenever something is waited for."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        columns: int = 80,
        rows: int = 24,
        folder: Path | None = None,
        patience: float = 30,
    ) -> None:
        self.raw = ""  # everything that was ever sent to the terminal, escape codes and all
        self.patience = patience
        self._picture = pyte.HistoryScreen(columns, rows, history=5000)
        self._stream = pyte.Stream(self._picture)
        self._child = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            env={"TERM": "xterm-256color", "LANG": "C.UTF-8", **environment},
            cwd=str(folder) if folder else None,
            dimensions=(rows, columns),
            encoding="utf-8",
            codec_errors="replace",
            timeout=None,
        )
        self._child.delaybeforesend = None
        self._child.delayafterclose = self._child.ptyproc.delayafterclose = 0.02
        self._alive = True
        self._before: list[str] = []

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close(force=True)

    def __str__(self) -> str:
        return "\n".join(self.everything)

    @property
    def screen(self) -> list[str]:
        """The lines one sees now, without the spaces at their ends."""
        return [line.rstrip() for line in self._picture.display]

    @property
    def scrollback(self) -> list[str]:
        """The lines that have left the screen at its top."""
        rows = self._picture.history.top
        return ["".join(row[column].data for column in range(self._picture.columns)).rstrip() for row in rows]

    @property
    def everything(self) -> list[str]:
        """All lines that one can scroll to."""
        lines = self.scrollback + self.screen
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def picture(self) -> pyte.Screen:
        """The screen with its colours."""
        return self._picture

    def waits_for(self, text: str, timeout: float | None = None, again: bool = False) -> str:
        """Until a line matches (a pattern); that line. `again`: one more than there were before the last keys."""
        pattern = re.compile(text)
        before = sum(1 for line in self._before if pattern.search(line)) if again else 0

        def found() -> list[str]:
            return [line for line in self.everything if pattern.search(line)]

        self.until(lambda: len(found()) > before, f"{text!r} is not on the screen", timeout)
        return found()[-1]

    def until(self, reached: Callable[[], bool], complaint: str, timeout: float | None = None) -> None:
        """Until something can be seen."""
        deadline = time.monotonic() + (timeout or self.patience)
        while not reached():
            if time.monotonic() > deadline or not self._alive:
                raise AssertionError(f"{complaint}:\n{self}")
            self._read(0.05)

    def press(self, *keys: str) -> Terminal:
        """Keys by their names, one after the other, as fast as fingers are."""
        self._before = self.everything
        for key in keys:
            self._child.send(KEYS[key])
            self._read(1 if key == "esc" else 0.2)  # a lone Esc is told from the codes of other keys by waiting
        return self

    def types(self, text: str) -> Terminal:
        """Characters, without Enter."""
        self._before = self.everything
        if text:
            self._child.send(text)
            self._read(0.2)
        return self

    def resize(self, columns: int, rows: int) -> Terminal:
        self._child.setwinsize(rows, columns)
        self._picture.resize(rows, columns)
        self._read(0.2)
        return self

    def ended(self, timeout: float | None = None) -> int:
        """Waits for the end; the exit code, or minus the signal that ended it."""
        deadline = time.monotonic() + (timeout or self.patience)
        while self._alive:
            self._read(0.05)
            if time.monotonic() > deadline:
                raise AssertionError(f"it has not ended:\n{self}")
        self._child.close()
        code: int | None = self._child.exitstatus
        return -int(self._child.signalstatus) if code is None else code

    def kill(self, signal: int) -> None:
        os.kill(self._child.pid, signal)

    def _read(self, seconds: float) -> None:
        """Takes what comes within so many seconds; after something came, only what follows at once."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                text = self._child.read_nonblocking(65536, timeout=max(0.0, deadline - time.monotonic()))
            except pexpect.TIMEOUT:
                return
            except pexpect.EOF:
                self._alive = False
                return
            self.raw += text
            self._stream.feed(text)
            deadline = min(deadline, time.monotonic() + 0.03)
