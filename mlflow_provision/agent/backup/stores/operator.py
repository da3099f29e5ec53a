"""Backups in a folder on the operator's machine: every piece travels over the connection that brought the request."""

from __future__ import annotations

import base64
import contextlib
from typing import Any, Callable, Iterator, Sequence

from mlflow_provision.agent import operator_link
from mlflow_provision.agent.backup.stores.base import MISSING, Entry, Missing
from mlflow_provision.agent.protocol import AgentError, Event

CALL = "store"
PIECE = 1 << 20


class OperatorStore:
    """The other half is mlflow_provision/operator_folder.py."""

    def __init__(self, title: str, emit: Callable[[Event], None]) -> None:
        self.title = title
        self._emit = emit

    @contextlib.contextmanager
    def put(self, key: str, expected: int = 0) -> Iterator[RemoteWriter]:
        writer = RemoteWriter(self._ask, self._ask("begin", key=key)["writer"])
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.discard()
            raise

    def get(self, key: str, sink: Callable[[bytes], object]) -> None:
        offset = 0
        while piece := self._piece(key, offset):
            sink(piece)
            offset += len(piece)

    def read(self, key: str) -> bytes:
        pieces: list[bytes] = []
        self.get(key, pieces.append)
        return b"".join(pieces)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        after = ""
        while page := self._ask("list", prefix=prefix, after=after)["entries"]:
            yield from (Entry(*entry) for entry in page)
            after = page[-1][0]

    def delete(self, keys: Sequence[str]) -> None:
        self._ask("delete", keys=[*keys])

    def _piece(self, key: str, offset: int) -> bytes:
        return base64.b64decode(self._ask("piece", key=key, offset=offset, size=PIECE)["data"])

    def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        try:
            return operator_link.ask(self._emit, CALL, op=op, **arguments)
        except AgentError as error:
            if error.kind == MISSING:
                raise Missing(error.message, error.hint, error.kind) from None
            raise


class RemoteWriter:
    """Collects what is written into pieces of one size."""

    def __init__(self, ask: Callable[..., dict[str, Any]], number: int) -> None:
        self._ask = ask
        self._number = number
        self._rest = bytearray()

    def write(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= PIECE:
            self._send(bytes(self._rest[:PIECE]))
            del self._rest[:PIECE]

    def finish(self) -> None:
        if self._rest:
            self._send(bytes(self._rest))
        self._ask("finish", writer=self._number)

    def discard(self) -> None:
        with contextlib.suppress(AgentError):  # the operator's side has gone: it cleans up behind itself
            self._ask("discard", writer=self._number)

    def _send(self, piece: bytes) -> None:
        self._ask("write", writer=self._number, data=base64.b64encode(piece).decode())
