"""Connections to a server: made, kept for the next request, and spoken through."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from typing import Any, BinaryIO, Iterable, Union
from urllib.parse import urlsplit

from mlflow_provision.agent.http.answer import NoAnswer

_CHUNK = 256 << 10

Body = Union[bytes, BinaryIO, None]


class Connections:
    """Open connections that any thread may use for its next request."""

    def __init__(self) -> None:
        self._idle: dict[str, list[http.client.HTTPConnection]] = {}
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def take(self, url: str) -> http.client.HTTPConnection | None:
        """One to the server of `url` that nobody uses."""
        with self._lock:
            idle = self._idle.get(_server(url))
            return idle.pop() if idle else None

    def new(self, url: str, timeout: float) -> http.client.HTTPConnection:
        """Another one. All share what was read of certificates."""
        with self._lock:
            self._context = self._context or ssl.create_default_context()
        return unconnected(url, timeout, self._context)

    def keep(self, url: str, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault(_server(url), []).append(connection)


def unconnected(url: str, timeout: float, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """A new one to the server of `url`, not connected yet."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = context or ssl.create_default_context()
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)


def connect(connection: http.client.HTTPConnection, url: str, timeout: float) -> None:
    """Raises NoAnswer when nobody is there in time."""
    try:
        connection.connect()
    except socket.timeout:
        raise silence(url, timeout) from None


def said(
    connection: http.client.HTTPConnection, method: str, target: str, headers: dict[str, str], body: Body
) -> tuple[http.client.HTTPResponse, bool]:
    """Send a request. The answer, before its body has been read, and whether the server has let us send everything."""
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    whole = False
    # A server may refuse before it has read everything; its answer says more than the broken pipe.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
        connection.endheaders()
        for piece in _pieces(body):
            connection.send(piece)
        whole = True
    return connection.getresponse(), whole


def _pieces(body: Body) -> Iterable[Any]:
    """A large body bit by bit: the timeout is for each, and a slow line is no silent one."""
    if isinstance(body, bytes):
        return (memoryview(body)[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))
    return [] if body is None else [body]


def silence(url: str, seconds: float) -> NoAnswer:
    """The error of a server that is not quick enough."""
    return NoAnswer("timeout", f"no answer from {host_and_port(url)} within {seconds:.0f} s")


def host_and_port(url: str) -> str:
    """The server of `url` for people: its host and port."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _server(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))
