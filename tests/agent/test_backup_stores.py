"""What every place for backups promises, said once; then what only folders have: names, rights, full disks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent import operator_link
from mlflow_provision.agent.backup.settings import Place
from mlflow_provision.agent.backup.stores import open_store
from mlflow_provision.agent.backup.stores import operator as operator_store
from mlflow_provision.agent.backup.stores.base import Missing, Store
from mlflow_provision.agent.protocol import AgentError, Ask, Event
from mlflow_provision.host.replies import to
from mlflow_provision.operator_folder import OperatorFolder
from tests.agent.converge import needs_root
from tests.agent.troubled_s3 import TroubledS3, serve

KEYS = ("20261121T153012Z-4f2a9c/mlflow.db.gz", "20261121T153012Z-4f2a9c/manifest.json", "packs/a.tar.gz.age")


def answered_by(folder: OperatorFolder) -> Callable[[Event], None]:
    """The way to the operator's side and back, without a connection between them."""
    import json

    def emit(event: Event) -> None:
        assert isinstance(event, Ask)
        operator_link.arrived(json.loads(to(event, folder)))

    return emit


@pytest.fixture(params=["folder", "operator", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(operator_store, "PIECE", 1000)
    monkeypatch.setattr("mlflow_provision.operator_folder.PIECE", 1000)
    monkeypatch.setattr("mlflow_provision.operator_folder._PAGE", 2)
    folder = tmp_path / "backups"
    state = str(tmp_path / "state")
    if request.param == "folder":
        yield open_store(Place(str(folder)), "server", state, answered_by(OperatorFolder(folder, "other")))
    elif request.param == "operator":
        operator = OperatorFolder(folder, "server")
        yield open_store(Place(f"operator:{folder}"), "server", state, answered_by(operator))
        assert not operator._writers
    else:
        with serve(TroubledS3()) as fake:
            yield open_store(Place("s3://bucket/p", "us-east-1", fake.endpoint, "a", "b"), "server", state, print)
    assert not list(tmp_path.rglob(".*")), "something is left"


def put(store: Store, key: str, content: bytes, piece: int = 700) -> None:
    with store.put(key, len(content)) as writer:
        for start in range(0, len(content), piece):
            writer.write(content[start : start + piece])


def test_what_is_put_comes_back(store: Store) -> None:
    assert store.title.endswith("/server")
    assert list(store.list()) == []
    for size in (0, 1, 999, 1000, 1001, 100_000):
        content = os.urandom(size)
        put(store, "id/part", content)  # again and again: the last one counts
        assert store.read("id/part") == content
    pieces: list[bytes] = []
    store.get("id/part", pieces.append)
    assert b"".join(pieces) == content


def test_a_list_knows_all_and_only_what_is_complete(store: Store) -> None:
    for number, key in enumerate(KEYS):
        put(store, key, bytes(number))
    with store.put("packs/b") as writer:
        writer.write(b"half")
        assert {(entry.key, entry.size) for entry in store.list()} == {(key, i) for i, key in enumerate(KEYS)}
    assert {entry.key for entry in store.list("packs/")} == {"packs/a.tar.gz.age", "packs/b"}
    assert {entry.key for entry in store.list("2026")} == set(KEYS[:2])
    assert {entry.key for entry in store.list(KEYS[0])} == {KEYS[0]}
    assert list(store.list("packs/none/")) == list(store.list("none")) == []
    assert all(entry.modified > 1e9 for entry in store.list())


def test_who_fails_leaves_what_was_there(store: Store) -> None:
    put(store, "id/part", b"before")
    for key in ("id/part", "new/part"):
        with pytest.raises(ZeroDivisionError), store.put(key) as writer:
            writer.write(bytes(5000))
            raise ZeroDivisionError
    assert [(entry.key, entry.size) for entry in store.list()] == [("id/part", 6)]
    assert store.read("id/part") == b"before"


def test_several_at_once(store: Store) -> None:
    with store.put("a/1") as one, store.put("a/2") as two:
        one.write(b"1" * 1500)
        two.write(b"2" * 1500)
        one.write(b"1")
    assert (store.read("a/1"), store.read("a/2")) == (b"1" * 1501, b"2" * 1500)


def test_what_is_not_there(store: Store) -> None:
    put(store, "id/part", b"x")
    for key in ("id/none", "none/part", "id/part/deeper"):
        with pytest.raises(Missing) as caught:
            store.read(key)
        assert key in caught.value.message and store.title in caught.value.message


def test_delete(store: Store) -> None:
    for key in KEYS:
        put(store, key, b"x")
    store.delete([KEYS[0], "none/none", KEYS[2]])
    assert [entry.key for entry in store.list()] == [KEYS[1]]
    store.delete([])


# Folders.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def opened(folder: Path) -> Store:
    def no_event(event: Event) -> None:
        raise AssertionError(event)

    return open_store(Place(str(folder)), "server", "", no_event)


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "", "a/", ".hidden", "a/.b", "a/\0"])
def test_no_key_leads_out_of_the_folder(folder: Path, key: str) -> None:
    store = opened(folder)
    (folder / "server").mkdir(parents=True)
    (folder / "x").write_text("of somebody else")
    for action in (lambda: store.read(key), lambda: store.delete([key]), lambda: put(store, key, b"x")):
        with pytest.raises(AgentError, match="not the name of a part of a backup"):
            action()
    assert [path.name for path in folder.rglob("*")] == ["server", "x"] or (folder / "x").read_text()
    assert list((folder / "server").iterdir()) == []


def test_a_link_is_neither_listed_nor_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("CANARY")
    (folder / "server" / "id").mkdir(parents=True)
    (folder / "server" / "id" / "part").symlink_to(tmp_path / "secret")
    assert list(opened(folder).list()) == []
    with pytest.raises(AgentError):
        opened(folder).read("id/part")


def test_what_is_in_it_is_closed_to_others(folder: Path) -> None:
    before = os.umask(0)
    try:
        put(opened(folder), "id/part", b"x")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}
    assert modes == {"backups": 0o700, "server": 0o700, "id": 0o700, "part": 0o600}


def test_empty_folders_go(folder: Path) -> None:
    store = opened(folder)
    put(store, "id/deep/part", b"x")
    store.delete(["id/deep/part"])
    assert list(folder.rglob("*")) == [folder / "server"]


KILLED = """
import os, sys
from mlflow_provision.agent.backup.stores.folder import FolderStore
with FolderStore(sys.argv[1]).put("id/part") as writer:
    writer.write(b"half")
    print("written", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(folder: Path) -> None:
    argv = [sys.executable, "-c", KILLED, str(folder / "server")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"written\n"
        assert list(opened(folder).list()) == []
        (half,) = (folder / "server" / "id").iterdir()
        process.send_signal(signal.SIGKILL)
    assert half.exists()
    assert list(opened(folder).list()) == []
    assert list(folder.rglob("*")) == [folder / "server"]


@needs_root
def test_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    try:
        store = opened(disk)
        put(store, "id/small", b"x")
        with pytest.raises(AgentError) as caught:
            put(store, "id/part", bytes(2 << 20))
        assert "No space left on device" in caught.value.message and str(disk) in caught.value.message
        assert "df -h" in caught.value.hint and caught.value.kind == "store"
        assert [path.name for path in (disk / "server" / "id").iterdir()] == ["small"]
    finally:
        subprocess.run(["umount", disk], check=True)


@needs_root
def test_a_folder_that_is_not_ours(open_folder: Path) -> None:
    from mlflow_provision.agent.as_user import as_user

    def attempt() -> None:
        put(opened(open_folder / "backups"), "id/part", b"x")

    with pytest.raises(AgentError) as caught:
        as_user("daemon", attempt)
    assert "Permission denied" in caught.value.message and "ls -ld" in caught.value.hint
    assert str(open_folder / "backups") in caught.value.message


@needs_root
def test_a_folder_that_comes_from_another_host(open_folder: Path) -> None:
    """Whose it is now is told, and how it becomes ours."""
    from mlflow_provision.agent.as_user import as_user

    folder = open_folder / "backups" / "server"
    folder.mkdir(parents=True)
    os.chown(folder, 4711, 4711)

    def attempt() -> list[str]:
        return [entry.key for entry in opened(open_folder / "backups").list()]

    assert as_user("daemon", attempt) == []  # who only reads needs no more than that
    folder.chmod(0o700)
    with pytest.raises(AgentError) as caught:
        as_user("daemon", attempt)
    assert caught.value.message == f"{folder} belongs to user 4711, and daemon may not look into it"
    assert caught.value.hint == f"hand it over with all that is in it: sudo chown -R daemon: {folder}"


def test_a_disk_that_fails_at_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = opened(folder)
    put(store, "id/part", b"before")
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(AgentError, match="Input/output error"):
        put(store, "id/part", b"after")
    assert store.read("id/part") == b"before"
    assert [path.name for path in (folder / "server" / "id").iterdir()] == ["part"]


def test_a_place_that_is_none() -> None:
    with pytest.raises(AgentError, match="relative/folder is no place for backups"):
        open_store(Place("relative/folder"), "server", "", print)
