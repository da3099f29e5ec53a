"""What a server answers, or that it does not."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any, Callable, Mapping

_CHUNK = 256 << 10
_LARGEST_BODY = 16 << 20  # of an answer kept in memory; whoever expects more passes a sink


class NoAnswer(Exception):
    """There was no HTTP answer. `kind` is refused, timeout, name, tls or lost."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Response:
    """An HTTP answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON; raises ValueError."""
        return json.loads(self.body.decode("utf-8"))


def received(
    answer: http.client.HTTPResponse,
    sink: Callable[[bytes], object] | None,
    head: Callable[[int, Mapping[str, str]], object] | None,
) -> Response:
    """The whole answer: see `Client.call`."""
    headers = {name.lower(): value for name, value in answer.getheaders()}
    body = b""
    if sink is None or not 200 <= answer.status < 300:
        body = answer.read(_LARGEST_BODY)
    else:
        if head:
            head(answer.status, headers)
        for piece in iter(lambda: answer.read(_CHUNK), b""):
            sink(piece)
    if answer.length:  # a read of a given size does not mind an early end
        raise http.client.IncompleteRead(b"", answer.length)
    return Response(answer.status, headers, body)
