"""What has been copied so far, a line of JSON for each artifact: what a killed run has done is not done again."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Copied:
    """An artifact that is at both places: `source` and `name` there, `to` here; both had this sha256."""

    source: str
    name: str
    to: str
    size: int
    mark: str
    sha256: str


class Manifest:
    """The file at `path`, which is ours alone. Any number of threads may add to it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._known = {one.to: one for one in _read(path)}
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "ab")
        if self._file.tell() and not Path(path).read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # a killed run's last line is half

    def get(self, to: str) -> Copied | None:
        return self._known.get(to)

    def add(self, copied: Copied) -> None:
        with self._lock:
            self._known[copied.to] = copied
            self._file.write(json.dumps(asdict(copied)).encode() + b"\n")
            self._file.flush()

    def forget(self, to: str) -> None:
        """What was copied was removed again; only as long as we run, the file may go on knowing it."""
        with self._lock:
            self._known.pop(to, None)

    def all(self) -> list[Copied]:
        return list(self._known.values())

    def close(self) -> None:
        self._file.close()


def _read(path: str) -> list[Copied]:
    found = []
    try:
        lines = Path(path).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(Copied(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found
