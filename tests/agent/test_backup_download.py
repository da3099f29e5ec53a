"""A download is a backup in another place: as it is stored, complete or not there, and it goes on where it was cut."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mlflow_provision.agent.backup import serve, state
from mlflow_provision.agent.backup.download import download
from mlflow_provision.agent.backup.listing import listed
from mlflow_provision.agent.backup.settings import Encryption, Place
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.protocol import AgentError, Progress
from tests.agent.backup_source import BackupSource

IDENTITY = pyrage.x25519.Identity.generate()
TO_US = Encryption(recipient=str(IDENTITY.to_public()), python=sys.executable)


@pytest.fixture
def source(tmp_path: Path) -> BackupSource:
    source = BackupSource(tmp_path / "host")
    source.with_artifacts()
    (source.artifacts / "model").write_bytes(os.urandom(3_000_000))
    source.encrypted(TO_US)
    source.back_up()
    return source


@pytest.fixture
def to(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "usb" / "server"))


def downloaded(source: BackupSource, to: FolderStore, stopping: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    manifest = source.listed()[0].manifest
    assert manifest
    return download(source.store, manifest, to, source.events.append, stopping)


def objects(store: FolderStore) -> dict[str, bytes]:
    root = Path(store.title)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_it_is_the_same_bytes_and_needs_no_key(source: BackupSource, to: FolderStore) -> None:
    answer = downloaded(source, to)
    assert objects(to) == objects(source.store)
    assert answer["id"] == source.listed()[0].id
    told = [event for event in source.events if isinstance(event, Progress) and event.step == "download"]
    assert told[-1].done == told[-1].total == answer["stored_size"]


def test_the_copy_is_a_place_of_its_own(source: BackupSource, tmp_path: Path) -> None:
    request = source.request("download", id="", to={"destination": str(tmp_path / "usb")})
    serve(request, "ada@laptop", source.events.append, lambda: False)
    source.settings = replace(source.settings, place=Place(str(tmp_path / "usb")))
    request = source.request("verify", id="", identity=str(IDENTITY))
    assert serve(request, "ada", source.events.append, lambda: False)["level"] == "full"


def test_a_backup_may_be_made_meanwhile(source: BackupSource, to: FolderStore) -> None:
    with state.working(source.settings.state, "backup", "the schedule"):
        downloaded(source, to)


def test_a_damaged_object_is_not_passed_on(source: BackupSource, to: FolderStore) -> None:
    path = next(Path(source.store.title).glob("*/mlflow.db.gz.age"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(AgentError, match=r"mlflow\.db\.gz\.age is damaged") as caught:
        downloaded(source, to)
    assert caught.value.kind == "damaged"
    assert listed(to) == []
    assert not any("mlflow.db" in key for key in objects(to))


def test_cut_off_it_is_no_backup_and_goes_on_later(
    source: BackupSource, to: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    put = to.put

    def one(key: str, expected: int = 0) -> Any:
        stop.set() if "mlflow.db" in key else None
        return put(key, expected)

    monkeypatch.setattr(to, "put", one)
    with pytest.raises(AgentError) as caught:
        downloaded(source, to, stop.is_set)
    assert caught.value.kind == "interrupted"
    assert (listed(to), [key.partition("/")[0] for key in objects(to)]) == ([], ["packs"])
    monkeypatch.undo()
    fetched: list[str] = []
    get = source.store.get

    def noted(self: FolderStore, key: str, sink: Callable[[bytes], object]) -> None:
        fetched.append(key)
        get(key, sink)

    monkeypatch.setattr(FolderStore, "get", noted)
    downloaded(source, to)
    assert not any(key.startswith("packs/") for key in fetched)
    monkeypatch.undo()
    assert objects(to) == objects(source.store)


def test_one_that_is_complete_is_fetched_anew(source: BackupSource, to: FolderStore) -> None:
    downloaded(source, to)
    rotten = next(Path(to.title).glob("packs/*"))
    rotten.write_bytes(bytes(rotten.stat().st_size))
    downloaded(source, to)
    assert objects(to) == objects(source.store)
