"""The package index: what it offers, what it only half offers, and a clear word when it offers nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mlflow_provision.agent.index import links, published
from mlflow_provision.agent.protocol import AgentError
from tests.agent.package_index import PackageIndex

PROJECTS = ("mlflow", "mlflow-skinny", "mlflow-tracing")


def offer(index: PackageIndex, project: str, *versions: str) -> None:
    for version in versions:
        index.add(project, f"{project.replace('-', '_')}-{version}-py3-none-any.whl")
        index.add(project, f"{project}-{version}.tar.gz")


def test_links_are_absolute_without_fragment_and_by_file_name(package_index: PackageIndex) -> None:
    package_index.pages["uv"] = """
        <a href="/files/uv/uv-1.0-py3-none-any.whl#sha256=abc" data-requires-python="&gt;=3.8">uv</a>
        <a href="../../files/uv/uv-1.1%2Blocal-py3-none-any.whl">uv</a>
        <A HREF="https://elsewhere.example/uv-1.2-py3-none-any.whl">uv</A> <a name="no-link">no</a>
    """
    assert links(package_index.url, "uv") == {
        "uv-1.0-py3-none-any.whl": package_index.origin + "/files/uv/uv-1.0-py3-none-any.whl",
        "uv-1.1+local-py3-none-any.whl": package_index.origin + "/files/uv/uv-1.1%2Blocal-py3-none-any.whl",
        "uv-1.2-py3-none-any.whl": "https://elsewhere.example/uv-1.2-py3-none-any.whl",
    }


def test_a_slash_at_the_end_of_the_mirrors_address_is_the_same_address(package_index: PackageIndex) -> None:
    offer(package_index, "mlflow", "1.0")
    assert links(package_index.url + "/", "mlflow") == links(package_index.url, "mlflow")
    assert set(package_index.requests) == {"/simple/mlflow/"}


def test_versions_are_numbers_and_not_words(package_index: PackageIndex) -> None:
    for project in PROJECTS:
        offer(package_index, project, "3.9.0", "3.10.0", "3.2.1")
    assert published(package_index.url, PROJECTS) == (["3.10.0", "3.9.0", "3.2.1"], [])


def test_a_release_whose_parts_are_missing_is_half_published(package_index: PackageIndex) -> None:
    offer(package_index, "mlflow", "3.18.0", "3.17.2", "3.17.1", "3.17.0")
    offer(package_index, "mlflow-skinny", "3.17.2", "3.17.1", "3.17.0")
    offer(package_index, "mlflow-tracing", "3.18.0", "3.17.2", "3.17.0")
    assert published(package_index.url, PROJECTS) == (["3.17.2", "3.17.0"], ["3.18.0", "3.17.1"])


def test_versions_from_before_a_part_existed_are_whole(package_index: PackageIndex) -> None:
    offer(package_index, "mlflow", "3.1.0", "3.0.0", "2.22.5")
    offer(package_index, "mlflow-skinny", "3.1.0", "3.0.0", "2.22.5")
    offer(package_index, "mlflow-tracing", "3.1.0", "3.0.0")
    assert published(package_index.url, PROJECTS) == (["3.1.0", "3.0.0", "2.22.5"], [])


def test_an_index_that_has_nothing_of_a_part_has_no_whole_version(package_index: PackageIndex) -> None:
    offer(package_index, "mlflow", "3.1.0")
    offer(package_index, "mlflow-skinny", "3.1.0")
    package_index.pages["mlflow-tracing"] = "<html></html>"
    assert published(package_index.url, PROJECTS) == ([], ["3.1.0"])


def test_pre_releases_and_sources_are_not_offered(package_index: PackageIndex) -> None:
    for project in PROJECTS:
        offer(package_index, project, "3.1.0", "3.2.0rc1", "3.2.0.dev0")
        package_index.add(project, f"{project}-3.3.0.tar.gz")
    assert published(package_index.url, PROJECTS) == (["3.1.0"], [])


def test_a_mirror_without_the_project_says_which_and_where(package_index: PackageIndex) -> None:
    with pytest.raises(AgentError, match="404") as caught:
        links(package_index.url, "mlflow")
    assert package_index.url + "/mlflow/" in caught.value.message
    assert caught.value.kind == "index"


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nobody_there(free_port: int) -> None:
    with pytest.raises(AgentError, match=r"cannot reach the package index 127\.0\.0\.1: .*refused") as caught:
        links(f"http://127.0.0.1:{free_port}/simple", "mlflow")
    assert caught.value.kind == "index"
    assert "--index-url" in caught.value.hint


def test_an_unknown_name() -> None:
    with pytest.raises(AgentError, match=r"cannot reach the package index no-such-host\.invalid") as caught:
        links("http://no-such-host.invalid/simple", "mlflow")
    assert caught.value.kind == "index"


@pytest.fixture
def rude() -> Iterator[list[bytes]]:
    """A server that answers every connection with the bytes the test puts first, and hangs up; its port is last."""
    answer: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer[0])

        answer.append(b"")
        answer.append(str(server.getsockname()[1]).encode())
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield answer
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<a href='x'>",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://elsewhere.example/\r\n\r\n",
    ],
    ids=["hangs up", "ssh", "cut short", "bad chunk", "elsewhere"],
)
def test_what_speaks_no_http_or_stops_half_way_is_an_index_error(rude: list[bytes], answer: bytes) -> None:
    rude[0] = answer
    with pytest.raises(AgentError, match=r"package index 127\.0\.0\.1") as caught:
        links(f"http://127.0.0.1:{rude[1].decode()}/simple", "mlflow")
    assert caught.value.kind == "index"
