"""What a place for artifacts can do for whoever removes some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterator, Optional, Protocol


@dataclass(frozen=True)
class Found:
    """A file: its path within the folder that was asked for, its bytes, when it was put (seconds since 1970)."""

    path: str
    size: int
    modified: float


Wanted = Optional[Callable[[str], bool]]  # which paths within a folder; None: all of them
Told = Callable[[int, int], object]  # hears that so many files, of so many bytes, have just gone


class Place(Protocol):
    """Folders are paths within the place, without a slash at either end. Several threads may use it at once."""

    title: str

    def files(self, folder: str) -> Iterator[Found]:
        """All files below a folder."""

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly in a folder ("": in the place itself)."""

    def remove(self, folder: str, told: Told, wanted: Wanted = None) -> None:
        """Remove the files below a folder; afterwards there is none, or AgentError says why."""

    def reachable(self, folder: str) -> bool:
        """Could there be such a folder, so that finding nothing means that there is nothing?"""

    def keeps_versions(self) -> bool | None:
        """Does what is removed stay as an old version? None: the place does not tell."""


STEP = 1000  # files between two looks at whether to stop
