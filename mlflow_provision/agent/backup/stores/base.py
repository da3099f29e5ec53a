"""What every place for backups can do."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Callable, Iterator, Protocol, Sequence

from mlflow_provision.agent.protocol import AgentError

KIND = "store"  # of the AgentError that tells what is wrong with a place


MISSING = "missing"


class Missing(AgentError):
    """There is no such object."""


def missing(where: str) -> Missing:
    """The error for an object that is not there."""
    return Missing(f"there is no {where}", "see which backups there are: mlflow-provision backup list", MISSING)


@dataclass(frozen=True)
class Entry:
    """An object: its key, its size in bytes, and when it was put (seconds since 1970, by the store's clock)."""

    key: str
    size: int
    modified: float


class Writer(Protocol):
    def write(self, data: bytes) -> None: ...


class Store(Protocol):
    """The folder of one deployment in a place. Keys are relative to it, with `/` between their parts.

    Whatever fails is told as an AgentError of kind "store": what, where, why, and what to do about it.
    """

    title: str  # for people: "s3://bucket/prefix/server"

    def put(self, key: str, expected: int = 0) -> AbstractContextManager[Writer]:
        """Write an object, piece by piece. It exists completely when the block ends, and not at all if it is left by an
        exception. `expected` bytes, roughly, are told to those who must plan for large ones."""

    def get(self, key: str, sink: Callable[[bytes], object]) -> None:
        """Hand on the bytes of an object piece by piece. Raises Missing."""

    def read(self, key: str) -> bytes:
        """A small object. Raises Missing."""

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every object whose key begins with `prefix`, however many there are; no order is promised."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, present or not."""
