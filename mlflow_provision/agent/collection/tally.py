"""What has gone so far, counted while it goes and told to people."""

from __future__ import annotations

import threading
import time

from mlflow_provision.agent.collection import orphans as nobodys
from mlflow_provision.agent.collection import trash
from mlflow_provision.agent.collection.survey import Folder
from mlflow_provision.agent.protocol import Output
from mlflow_provision.agent.steps import Emit, amount

PAUSE = 0.2  # seconds between two lines about how far it is


class Tally:
    """What has gone so far, of how much; several threads add to it."""

    def __init__(self, emit: Emit, totals: dict[str, int], orphans: nobodys.Orphans | None) -> None:
        self.runs = self.models = self.experiments = self.traces = self.orphans = self.files = self.size = 0
        self._emit = emit
        self._items = totals["runs"] + totals["models"]
        self._expected = totals["files"] + (orphans.as_json()["files"] if orphans else 0)
        self._lock = threading.Lock()
        self._told = 0.0

    def files_gone(self, count: int, size: int) -> None:
        """So many more files, of so many bytes; told now and then."""
        with self._lock:
            self.files += count
            self.size += size
            tell = time.monotonic() - self._told > PAUSE
            if tell:
                self._told = time.monotonic()
        if tell:
            items = f", {self.runs + self.models:,} of {self._items:,} runs and models" if self._items else ""
            self._emit(Output("remove", f"{self.files:,} of {max(self.files, self._expected):,} files{items}"))

    def gone(self, folder: Folder) -> None:
        """What the folder belonged to."""
        if folder.item:
            self.runs += folder.item.kind == trash.RUN
            self.models += folder.item.kind == trash.MODEL

    def summary(self) -> str:
        """All of it, for people."""
        items = items_in_words(self.as_json())
        return ", ".join(filter(None, [items, files_in_words(self.files, self.size)]))

    def as_json(self) -> dict[str, int]:
        names = ("experiments", "runs", "models", "traces", "files", "orphans")
        return {**{name: getattr(self, name) for name in names}, "bytes": self.size}


def items_in_words(sums: dict[str, int]) -> str:
    """Items of each kind, as people are told of them; "" for none."""
    nouns = {"runs": "run", "models": "model", "traces": "trace", "experiments": "experiment"}
    told = [counted(sums[key], noun) for key, noun in nouns.items() if sums[key]]
    return ", ".join(told + ([counted(sums["orphans"], "orphaned folder")] if sums.get("orphans") else []))


def files_in_words(count: int, size: int) -> str:
    """`12 files of 3 MB`."""
    return f"{counted(count, 'file')} of {amount(size)}"


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
