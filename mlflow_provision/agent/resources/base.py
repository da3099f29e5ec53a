"""What every resource is: something that can say how the host differs from it, and make the host like it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Protocol


@dataclass(frozen=True)
class Change:
    """How the host differs from a resource: a few words, and for files a unified diff without secrets."""

    summary: str
    diff: str = ""


@dataclass
class Context:
    """What a resource may know of the run it is part of."""

    changed: set[str] = field(default_factory=set)  # ids of the resources that changed, or in a plan would change
    output: Callable[[str], None] = lambda line: None  # shows a line of progress
    stopping: Callable[[], bool] = lambda: False  # has the operator asked us to stop, or gone away?


class Resource(Protocol):
    """One thing on the host. Implementations are frozen dataclasses of JSON-serialisable fields."""

    @property
    def id(self) -> str: ...

    @property
    def title(self) -> str: ...

    def check(self, context: Context) -> Change | None:
        """What would change, or None. Reads only."""

    def apply(self, context: Context) -> None:
        """Make the host like this. Called only when `check` found a change; safe to repeat after a kill."""
