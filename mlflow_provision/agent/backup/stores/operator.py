"""Backups in a folder on the operator's machine: every piece travels over the connection that brought the request."""

from __future__ import annotations

import base64
import contextlib
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, Sequence

from mlflow_provision.agent import operator_link
from mlflow_provision.agent.backup.stores.base import MISSING, Entry, missing
from mlflow_provision.agent.protocol import AgentError, Event

CALL = "store"
PIECE = 1 << 20
_UNDER_WAY = 4  # pieces: enough for a line that moves some 20 MB/s to a place 0.2 s away

_Reply = Callable[[], Dict[str, Any]]


class OperatorStore:
    """The other half is mlflow_provision/operator_folder.py. `place` is the folder's path there."""

    def __init__(self, place: str, deployment: str, emit: Callable[[Event], None]) -> None:
        self.title = f"operator:{place}/{deployment}"
        self._place = place
        self._emit = emit

    @contextlib.contextmanager
    def put(self, key: str, expected: int = 0) -> Iterator[RemoteWriter]:
        writer = RemoteWriter(self._post, self._post("begin", key=key)()["writer"])
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.discard()
            raise

    def get(self, key: str, sink: Callable[[bytes], object]) -> None:
        first = self._post("piece", key=key, offset=0)()
        rest = (self._post("piece", key=key, offset=offset) for offset in range(PIECE, first["size"], PIECE))
        sink(base64.b64decode(first["data"]))
        for piece in _ahead(rest):
            sink(base64.b64decode(piece["data"]))

    def read(self, key: str) -> bytes:
        pieces: list[bytes] = []
        self.get(key, pieces.append)
        return b"".join(pieces)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        after = ""
        while page := self._post("list", prefix=prefix, after=after)()["entries"]:
            yield from (Entry(*entry) for entry in page)
            after = page[-1][0]

    def delete(self, keys: Sequence[str]) -> None:
        self._post("delete", keys=[*keys])()

    def _post(self, op: str, **arguments: Any) -> _Reply:
        reply = operator_link.post(self._emit, CALL, place=self._place, op=op, **arguments)

        def told() -> dict[str, Any]:
            try:
                return reply()
            except AgentError as error:
                if error.kind == MISSING:
                    raise missing(f"{self.title}/{arguments['key']}") from None
                raise

        return told


class RemoteWriter:
    """Collects what is written into pieces, and sends them without waiting for each."""

    def __init__(self, post: Callable[..., _Reply], number: int) -> None:
        self._post = post
        self._number = number
        self._rest = bytearray()
        self._under_way: Deque[_Reply] = deque()

    def write(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= PIECE:
            self._send(self._rest[:PIECE])
            del self._rest[:PIECE]

    def finish(self) -> None:
        """From now on the object exists, and is on the disk there."""
        if self._rest:
            self._send(self._rest)
        while self._under_way:
            self._under_way.popleft()()
        self._post("finish", writer=self._number)()

    def discard(self) -> None:
        """Leave nothing."""
        with contextlib.suppress(AgentError):  # the operator's side has gone: it cleans up behind itself
            self._post("discard", writer=self._number)()

    def _send(self, piece: bytearray) -> None:
        if len(self._under_way) >= _UNDER_WAY:
            self._under_way.popleft()()
        self._under_way.append(self._post("write", writer=self._number, data=base64.b64encode(piece).decode()))


def _ahead(replies: Iterable[_Reply]) -> Iterator[dict[str, Any]]:
    """The answers in their order, while some more are on their way."""
    under_way: Deque[_Reply] = deque()
    for reply in replies:
        under_way.append(reply)
        if len(under_way) >= _UNDER_WAY:
            yield under_way.popleft()()
    while under_way:
        yield under_way.popleft()()
