"""A place that artifacts are read from or written to: what both kinds of it can do."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Callable, Protocol


@dataclass(frozen=True)
class Entry:
    """An artifact: its path below the place, its size in bytes, and a mark that changes when its bytes do."""

    name: str
    size: int
    mark: str


class Writer(Protocol):
    def write(self, data: bytes) -> None: ...


class Place(Protocol):
    """A folder, or the keys of a bucket that begin alike. Whatever fails is an AgentError."""

    @property
    def title(self) -> str:
        """For people, and for `names.spot`."""

    def find(self, stopping: Callable[[], bool], below: str = "") -> list[Entry]:
        """Everything in it, or in what is `below`. Names are relative to the place. [] when there is no such place."""

    def look(self, name: str) -> Entry | None:
        """One artifact, if it is there."""

    def read(self, name: str, sink: Callable[[bytes], object]) -> None:
        """Hand on its bytes piece by piece."""

    def write(self, name: str, size: int) -> AbstractContextManager[Writer]:
        """A new artifact of so many bytes. It exists when the block ends, and not if that is left by an exception."""

    def sweep(self) -> None:
        """Take back what killed writers left."""

    def delete(self, name: str) -> None:
        """Remove it, present or not."""
