"""Runs checks one after the other, times them, and tells of each."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Callable, Sequence

from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.protocol import FAILED, OK, SKIPPED, Event, Result, Start


class Failed(Exception):
    """What was expected, what came, and the likely cause."""


class ServerError(Failed):
    """The server failed: its log tells more."""


class Skipped(Exception):
    """Why a check makes no sense here."""


class Checks:
    """The checks so far. A check is a function that returns what it found, or raises Failed, Skipped or NoAnswer."""

    def __init__(
        self, emit: Callable[[Event], None], stopping: Callable[[], bool], secret: str, log: Callable[[], str]
    ) -> None:
        self._emit = emit
        self._log = log
        self._stopping = stopping
        self._secret = secret
        self.results: dict[str, Result] = {}

    def run(self, step: str, title: str, check: Callable[[], str], needs: Sequence[str] = ()) -> None:
        """Run a check unless the operator has stopped us, or one that it `needs` has not passed."""

        def unless_stopped() -> str:
            if self._stopping():
                raise Skipped("stopped")
            return check()

        self.finish(step, title, unless_stopped, needs)

    def finish(self, step: str, title: str, check: Callable[[], str], needs: Sequence[str] = ()) -> None:
        """Run a check even when the operator has stopped us: what was begun must be ended."""
        self._tell(Start(step, title))
        started = time.monotonic()
        try:
            for need in needs:
                self._require(need)
            verdict, summary = OK, check()
        except Skipped as reason:
            verdict, summary = SKIPPED, str(reason)
        except ServerError as reason:
            verdict, summary = FAILED, ": ".join(part for part in (str(reason), self._log()) if part)
        except (Failed, NoAnswer) as reason:
            verdict, summary = FAILED, str(reason)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            verdict, summary = FAILED, f"the server's answer makes no sense ({type(error).__name__}: {error})"
        except OSError as error:
            verdict, summary = FAILED, str(error)
        if self._secret:
            summary = summary.replace(self._secret, "********")
        self.results[step] = Result(step, title, verdict, round(time.monotonic() - started, 4), summary)
        self._tell(self.results[step])

    def passed(self, step: str) -> bool:
        """Has this check been run, and passed?"""
        return step in self.results and self.results[step].verdict == OK

    def report(self) -> dict[str, Any]:
        """All results, and how many failed."""
        results = list(self.results.values())
        keys = ("step", "title", "verdict", "seconds", "summary")
        return {
            "failed": sum(result.verdict == FAILED for result in results),
            "checks": [{key: asdict(result)[key] for key in keys} for result in results],
        }

    def _require(self, need: str) -> None:
        result = self.results[need]
        if result.verdict == FAILED:
            raise Skipped(f'not tried, because "{result.title}" failed')
        if result.verdict == SKIPPED:
            raise Skipped(result.summary)

    def _tell(self, event: Event) -> None:
        # Nobody listening is no reason to leave half of it on the server: the clean-up comes as a check too.
        try:
            self._emit(event)
        except OSError:
            self._stopping = lambda: True
