from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mlflow_provision.agent.http import Client, NoAnswer


class OneAnswer:
    """Accepts one connection, keeps what it is sent, answers with given bytes."""

    def __init__(self, answer: bytes) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.received = b""
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            self.received = connection.recv(65536)
            connection.sendall(self._answer)

    def close(self) -> None:
        self._thread.join(5)
        self.listener.close()


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[OneAnswer]:
    one = OneAnswer(request.param)
    yield one
    one.close()


OK = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 4\r\n\r\nbody"


@pytest.mark.parametrize("server", [OK], indirect=True)
def test_what_is_sent(server: OneAnswer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    client = Client(server.url, "me", "pass:wörd")
    response = client.call("POST", "/p", query={"a b": "c/d"}, data={"x": 1}, headers={"Host": "h", "Origin": "o"})
    lines = server.received.decode().split("\r\n")
    assert lines[0] == "POST /p?a%20b=c%2Fd HTTP/1.1"
    assert [line for line in lines if line.lower().startswith(("host", "origin", "content"))] == [
        "Host: h",
        "Content-Type: application/json",
        "Content-Length: 8",
        "Origin: o",
    ]
    assert "Authorization: Basic bWU6cGFzczp3w7ZyZA==" in lines
    assert (response.status, response.headers["x-a"], response.body) == (200, "b", b"body")
    assert "pass" not in repr(client)


@pytest.mark.parametrize("server", [OK], indirect=True)
def test_a_body_goes_to_the_sink(server: OneAnswer) -> None:
    pieces: list[bytes] = []
    assert Client(server.url).call("GET", "/", sink=pieces.append).body == b""
    assert b"".join(pieces) == b"body"


@pytest.mark.parametrize("server", [OK.replace(b"200 OK", b"404 No")], indirect=True)
def test_an_errors_body_does_not_go_to_the_sink(server: OneAnswer) -> None:
    pieces: list[bytes] = []
    assert Client(server.url).call("GET", "/", sink=pieces.append).body == b"body"
    assert pieces == []


@pytest.mark.parametrize("server", [OK.replace(b"200 OK", b"302 Found\r\nLocation: /elsewhere")], indirect=True)
def test_redirects_are_answers(server: OneAnswer) -> None:
    assert Client(server.url).call("GET", "/").status == 302


@pytest.mark.parametrize("server", [b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"], indirect=True)
def test_an_answer_before_the_body_was_read_is_still_heard(server: OneAnswer) -> None:
    assert Client(server.url).call("PUT", "/", body=bytes(30_000)).status == 413


@pytest.mark.parametrize(
    ("server", "kind", "words"),
    [(b"", "lost", "no HTTP answer"), (b"SSH-2.0-OpenSSH\r\n", "lost", "no HTTP answer"), (OK[:-1], "lost", "no HTTP")],
    indirect=["server"],
)
def test_no_http(server: OneAnswer, kind: str, words: str) -> None:
    with pytest.raises(NoAnswer, match=words) as caught:
        Client(server.url).call("GET", "/")
    assert caught.value.kind == kind


@pytest.mark.parametrize("server", [OK], indirect=True)
def test_no_tls(server: OneAnswer) -> None:
    with pytest.raises(NoAnswer, match="does not speak TLS"):
        Client(server.url.replace("http:", "https:")).call("GET", "/")


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoAnswer, match=f"nothing listens at 127.0.0.1:{port}") as caught:
        Client(f"http://127.0.0.1:{port}").call("GET", "/")
    assert caught.value.kind == "refused"


def test_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(NoAnswer, match="no answer from") as caught:
            Client(url, timeout=0.1).call("GET", "/")
    assert caught.value.kind == "timeout"


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(NoAnswer, match=r"cannot resolve the name nowhere\.invalid") as caught:
        Client("http://nowhere.invalid").call("GET", "/")
    assert caught.value.kind == "name"


@pytest.mark.parametrize("server", [b""], indirect=True)
def test_a_connection_that_is_cut_in_the_handshake_is_lost_and_no_wrong_certificate(server: OneAnswer) -> None:
    with pytest.raises(NoAnswer) as caught:
        Client(server.url.replace("http:", "https:")).call("GET", "/")
    assert caught.value.kind == "lost"
