"""Requests to one server."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Mapping
from urllib.parse import quote, urlencode, urlsplit

from mlflow_provision.agent.http.answer import NoAnswer, Response, received
from mlflow_provision.agent.http.connections import (
    Body,
    Connections,
    connect,
    host_and_port,
    said,
    silence,
    unconnected,
)

_CONNECT = 15.0  # seconds; whoever is patient with answers need not wait as long for somebody to be there


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
        where = host_and_port(self.url)
        connection = None
        try:
            connection, answer, whole = self._asked(method, target, headers, body, timeout)
            response = received(answer, sink, head)
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
            raise silence(self.url, timeout) from None
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
                return used, *said(used, method, target, headers, body)
            except (ConnectionError, http.client.BadStatusLine):
                used.close()  # the server did, while nobody used it
            except BaseException:
                used.close()
                raise
        first = min(timeout, _CONNECT)
        connection = self.connections.new(self.url, first) if self.connections else unconnected(self.url, first)
        try:
            connect(connection, self.url, first)
            connection.sock.settimeout(timeout)
            return connection, *said(connection, method, target, headers, body)
        except BaseException:
            connection.close()
            raise


def _reason(error: Exception) -> str:
    closed = (http.client.RemoteDisconnected, http.client.IncompleteRead)
    if isinstance(error, http.client.HTTPException):
        return "the connection was closed" if isinstance(error, closed) else "it speaks something else"
    return getattr(error, "strerror", "") or type(error).__name__
