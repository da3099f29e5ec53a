"""A small HTTP client: no proxies, no redirects, any Host header, bodies that stream."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Callable, Iterable, Mapping, Union
from urllib.parse import quote, urlencode, urlsplit

_CHUNK = 256 << 10
_CONNECT = 15.0  # seconds; whoever is patient with answers need not wait as long for somebody to be there
_LARGEST_BODY = 16 << 20  # of an answer kept in memory; whoever expects more passes a sink

Body = Union[bytes, BinaryIO, None]


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
        return _connection(url, timeout, self._context)

    def keep(self, url: str, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault(_server(url), []).append(connection)


@dataclass(frozen=True)
class Client:
    """Speaks to one server, with basic auth when there is a username.

    One connection per request, unless there are `connections` to be used again: then a body must be bytes.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 10.0
    connections: Connections | None = field(default=None, repr=False, compare=False)

    def anonymous(self) -> Client:
        """The same server, without credentials."""
        return replace(self, username="", password="")

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        data: Any = None,
        body: Body = None,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
        sink: Callable[[bytes], object] | None = None,
        head: Callable[[int, Mapping[str, str]], object] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """One request. `data` is sent as JSON, `body` as it is (with its `length` when it is a file).

        The body of a 2xx answer goes to `sink` piece by piece when there is one, after its status and headers went to
        `head`. Raises NoAnswer.
        """
        parts = urlsplit(self.url)
        sent = {"Host": parts.netloc.rpartition("@")[2], "Accept-Encoding": "identity"}
        if not self.connections:
            sent["Connection"] = "close"
        if self.username:
            pair = f"{self.username}:{self.password}".encode()
            sent["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
        if data is not None:
            body = json.dumps(data).encode()
            sent["Content-Type"] = "application/json"
        if isinstance(body, bytes):
            length = len(body)
        if length is not None or method in ("POST", "PUT"):
            sent["Content-Length"] = str(length or 0)
        sent.update(headers or {})
        target = parts.path.rstrip("/") + path
        if query:
            target += "?" + urlencode(query, quote_via=quote)
        return self._exchange(method, target, sent, body, sink, head, timeout or self.timeout)

    def _exchange(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: Body,
        sink: Callable[[bytes], object] | None,
        head: Callable[[int, Mapping[str, str]], object] | None,
        timeout: float,
    ) -> Response:
        parts = urlsplit(self.url)
        where = _where(self.url)
        connection = None
        try:
            connection, answer, whole = self._asked(method, target, headers, body, timeout)
            response = _received(answer, sink, head)
            if self.connections and whole and answer.isclosed() and not answer.will_close:
                self.connections.keep(self.url, connection)
                connection = None
            return response
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            raise NoAnswer("lost", f"no HTTP answer from {where}: the connection was closed") from None
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or "no TLS"
            if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
                raise NoAnswer("lost", f"{where} does not speak TLS") from None
            raise NoAnswer("tls", f"TLS with {where} failed: {reason}") from None
        except socket.gaierror:
            raise NoAnswer("name", f"this host cannot resolve the name {parts.hostname}") from None
        except ConnectionRefusedError:
            raise NoAnswer("refused", f"connection refused: nothing listens at {where}") from None
        except socket.timeout:
            raise _silence(self.url, timeout) from None
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer("lost", f"no HTTP answer from {where}: {_reason(error)}") from None
        finally:
            if connection:
                connection.close()

    def _asked(
        self, method: str, target: str, headers: dict[str, str], body: Body, timeout: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse, bool]:
        """The answer, before its body has been read, and whether the server has let us send everything."""
        while self.connections and (used := self.connections.take(self.url)):
            try:
                used.sock.settimeout(timeout)
                return used, *_said(used, method, target, headers, body)
            except (ConnectionError, http.client.BadStatusLine):
                used.close()  # the server did, while nobody used it
            except BaseException:
                used.close()
                raise
        first = min(timeout, _CONNECT)
        connection = self.connections.new(self.url, first) if self.connections else _connection(self.url, first)
        try:
            _connect(connection, self.url, first)
            connection.sock.settimeout(timeout)
            return connection, *_said(connection, method, target, headers, body)
        except BaseException:
            connection.close()
            raise


def _connect(connection: http.client.HTTPConnection, url: str, timeout: float) -> None:
    try:
        connection.connect()
    except socket.timeout:
        raise _silence(url, timeout) from None


def _silence(url: str, seconds: float) -> NoAnswer:
    return NoAnswer("timeout", f"no answer from {_where(url)} within {seconds:.0f} s")


def _said(
    connection: http.client.HTTPConnection, method: str, target: str, headers: dict[str, str], body: Body
) -> tuple[http.client.HTTPResponse, bool]:
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


def _where(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _server(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def _connection(url: str, timeout: float, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = context or ssl.create_default_context()
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)


def _reason(error: Exception) -> str:
    closed = (http.client.RemoteDisconnected, http.client.IncompleteRead)
    if isinstance(error, http.client.HTTPException):
        return "the connection was closed" if isinstance(error, closed) else "it speaks something else"
    return getattr(error, "strerror", "") or type(error).__name__


def _received(
    answer: http.client.HTTPResponse,
    sink: Callable[[bytes], object] | None,
    head: Callable[[int, Mapping[str, str]], object] | None,
) -> Response:
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
