"""Checks one after the other, told as JSON lines in the words of `agent.protocol`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


class Failed(Exception):
    """What was expected, and what came."""


class Checks:
    """A check is a function that returns what it found, or raises anything."""

    def __init__(self, stream: IO[str], secret: str) -> None:
        self._stream = stream
        self._secret = secret
        self._verdicts: dict[str, str] = {}
        self._titles: dict[str, str] = {}

    def run(self, step: str, title: str, check: Callable[[], str], needs: Sequence[str] = ()) -> None:
        """Run it unless one that it needs has not passed. A Ctrl-C goes through, after the verdict."""
        self._titles[step] = title
        self._tell(event="start", step=step, title=title)
        began = time.monotonic()
        interrupted: BaseException | None = None
        verdict, summary = SKIPPED, ""
        missing = [need for need in needs if self._verdicts.get(need) != OK]
        if missing:
            summary = f'not tried, because "{self._titles.get(missing[0], missing[0])}" did not pass'
        else:
            try:
                verdict, summary = OK, check()
            except Failed as reason:
                verdict, summary = FAILED, str(reason)
            except KeyboardInterrupt as interrupt:
                interrupted, summary = interrupt, "interrupted"
            except Exception as error:
                verdict, summary = FAILED, f"{type(error).__name__}: {error}"
        self._verdicts[step] = verdict
        seconds = round(time.monotonic() - began, 4)
        self._tell(
            event="result", step=step, title=title, verdict=verdict, seconds=seconds, summary=self._masked(summary)
        )
        if interrupted:
            raise interrupted

    def done(self) -> None:
        """The last line."""
        self._tell(event="done")

    def _masked(self, text: str) -> str:
        return text.replace(self._secret, "********") if self._secret else text

    def _tell(self, **event: object) -> None:
        # Nobody listening is no reason to leave half of it on the server.
        with suppress(OSError):
            print(json.dumps(event), file=self._stream, flush=True)
