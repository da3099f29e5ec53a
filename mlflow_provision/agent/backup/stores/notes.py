"""Notes about uploads that are under way. That of one whose writer was killed tells the next run what to take back."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from dataclasses import dataclass
from typing import Iterator

from mlflow_provision.agent.backup.stores.unfinished import lock_free, locked

_GIVEN_UP = 7 * 86400.0  # seconds; what could not be taken back until then never will


@dataclass
class Note:
    """Locked as long as its writer lives; it stays when it is not removed."""

    path: str
    descriptor: int

    @property
    def content(self) -> dict[str, str]:
        try:
            content = json.loads(os.pread(self.descriptor, 65536, 0))
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def stale(self) -> bool:
        return not self.content or os.fstat(self.descriptor).st_mtime < time.time() - _GIVEN_UP

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass
class Notes:
    """All of them, in a folder of ours; "": none are taken."""

    folder: str

    def take(self, **content: str) -> Note | None:
        """A note; whoever has finished removes it, and closes it in any case."""
        if not self.folder:
            return None
        os.makedirs(self.folder, 0o700, exist_ok=True)
        path = os.path.join(self.folder, secrets.token_hex(8))
        note = Note(path, locked(path))
        os.write(note.descriptor, json.dumps(content).encode())
        return note

    def left(self) -> Iterator[Note]:
        """Those whose writers have ended."""
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        for path in (os.path.join(self.folder, name) for name in names):
            descriptor = lock_free(path)
            if descriptor is None:
                continue
            try:
                yield Note(path, descriptor)
            finally:
                os.close(descriptor)
