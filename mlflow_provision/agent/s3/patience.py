"""Another try, and another: a store far away has bad minutes, and a backup at night has nobody who types it again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Callable, TypeVar

from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.s3.error import S3Error

_FIRST = 0.5  # seconds; each pause is up to twice as long as the one before
_LONGEST = 20.0
_LOOK = 0.2  # between two looks at whether to stop

Answer = TypeVar("Answer")


@dataclass
class Patience:
    """How often to try in all: less as long as nothing has ever come back, for then the address may be wrong."""

    attempts: int = 8
    attempts_at_first: int = 3
    stopping: Callable[[], bool] = lambda: False
    heard: bool = False

    def insist(self, attempt: Callable[[], Answer]) -> Answer:
        """The answer of the first attempt that has one; the error of the last. Raises NoAnswer and S3Error."""
        number = 0
        while True:
            number += 1
            try:
                answer = attempt()
                self.heard = True
                return answer
            except S3Error as error:
                self.heard = True
                if not error.passing or self._enough(number):
                    raise
            except NoAnswer as error:
                if error.kind == "tls" or self._enough(number):
                    raise
            self._pause(min(_LONGEST, _FIRST * 2 ** (number - 1)))

    def _enough(self, number: int) -> bool:
        return number >= (self.attempts if self.heard else self.attempts_at_first) or self.stopping()

    def _pause(self, longest: float) -> None:
        # Of many clients that were sent away together, each comes back at another time.
        end = time.monotonic() + longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
        while (left := end - time.monotonic()) > 0 and not self.stopping():
            time.sleep(min(_LOOK, left))


def once() -> Patience:
    """None at all."""
    return Patience(1, 1)
