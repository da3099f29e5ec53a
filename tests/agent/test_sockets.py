"""Who listens where: seen on real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from mlflow_provision.agent.sockets import Listener, free_port, listeners, owner

FAMILIES = [
    (socket.AF_INET, "127.0.0.1"),
    (socket.AF_INET, "127.1.2.3"),
    (socket.AF_INET, "0.0.0.0"),
    (socket.AF_INET6, "::1"),
    (socket.AF_INET6, "::"),
]


def listening(family: int, address: str) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.bind((address, 0))
    except OSError as error:
        listener.close()
        pytest.skip(f"this machine has no {address}: {error}")
    listener.listen()
    return listener


def on(port: int) -> list[Listener]:
    return [listener for listener in listeners() if listener.port == port]


@pytest.mark.parametrize(("family", "address"), FAMILIES)
def test_a_listening_socket_its_address_and_its_owner(family: int, address: str) -> None:
    with listening(family, address) as listener:
        port = listener.getsockname()[1]
        [found] = on(port)
        assert found.address == address
        assert found.inode == str(os.fstat(listener.fileno()).st_ino)
        assert owner(found.inode) == os.getpid()
    assert on(port) == []


def test_a_connection_is_no_listener() -> None:
    with listening(socket.AF_INET, "127.0.0.1") as listener, socket.create_connection(listener.getsockname()) as client:
        assert on(client.getsockname()[1]) == []
        assert len(on(listener.getsockname()[1])) == 1


def test_the_owner_is_another_process() -> None:
    program = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    with subprocess.Popen([sys.executable, "-c", program + "; sys.stdin.read()"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        [found] = on(int(child.stdout.readline()))
        assert owner(found.inode) == child.pid
        child.stdin.close()


def test_nobody_owns_what_is_not_there() -> None:
    assert owner("0") == 0


def test_the_first_free_port() -> None:
    assert free_port(5000, set()) == 5000
    assert free_port(5000, {5000, 5001, 5003}) == 5002
    assert free_port(5000, {4999}) == 5000
