"""Artifacts between folders and buckets of a real S3 server: each way, resumed, checked, and told when it fails."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent.moving import bucket as buckets
from mlflow_provision.agent.moving.bucket import Access, Buckets, Objects
from mlflow_provision.agent.moving.copying import Copying, Job
from mlflow_provision.agent.moving.folder import Folder
from mlflow_provision.agent.moving.manifest import Manifest
from mlflow_provision.agent.moving.places import Place
from mlflow_provision.agent.protocol import AgentError
from tests.agent.moving_site import MovingSite, served
from tests.agent.restoring import play
from tests.agent.test_s3_servers import program
from tests.agent.troubled_s3 import TroubledS3, serve
from tests.lab.server import free_port, serving

FILES = {
    "1/r/artifacts/a.txt": b"a",
    "1/r/artifacts/empty": b"",
    "1/r/artifacts/ü +%25 b.bin": random.Random(1).randbytes(70_000),
    "1/r/artifacts/large.bin": random.Random(2).randbytes(18 << 20),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Access]]:
    """The folder behind the server, each folder in it a bucket; and how it is reached."""
    folder = tmp_path_factory.mktemp("rclone")
    port = free_port("127.0.0.1")
    for name in ("old", "new", "gone"):
        (folder / "store" / name).mkdir(parents=True)
    argv = [program("rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder / "store")]
    environment = {"RCLONE_AUTH_KEY": '"KEY,SECRET"', "RCLONE_CONFIG": str(folder / "none")}
    with serving(argv, address="127.0.0.1", port=port, log=folder / "log", environment=environment):
        yield folder / "store", Access("us-east-1", f"http://127.0.0.1:{port}", "KEY", "SECRET")


def objects(access: Access, bucket: str, prefix: str, notes: Path) -> Objects:
    return Buckets(access, str(notes), lambda: False).objects(bucket, prefix)


def fill(place: Place) -> None:
    for name, content in FILES.items():
        with place.write(name, len(content)) as writer:
            writer.write(content)


def content(place: Place) -> dict[str, bytes]:
    found = {}
    for entry in place.find(lambda: False):
        pieces: list[bytes] = []
        place.read(entry.name, pieces.append)
        found[entry.name] = b"".join(pieces)
        assert entry.size == len(found[entry.name])
    return found


def copy(source: Place, target: Place, path: Path) -> int:
    """How many bytes were told."""
    told: list[int] = []
    manifest = Manifest(str(path))
    jobs = [Job(source, entry, entry.name) for entry in source.find(lambda: False)]
    Copying(target, manifest, told.append, lambda: False).run(jobs)
    manifest.close()
    return sum(told)


@pytest.mark.parametrize("way", ["folder to bucket", "bucket to folder", "bucket to bucket", "folder to folder"])
def test_each_way_brings_every_byte(way: str, store: tuple[Path, Access], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    prefix = f"some prefix/{way}"
    first, _, last = way.split(" ")
    places: dict[str, Place] = {
        "folder": Folder(str(here), ""),
        "bucket": objects(store[1], "old", prefix, tmp_path / "notes"),
    }
    source = places[first]
    target: Place = Folder(str(there), "") if last == "folder" else objects(store[1], "new", prefix, tmp_path / "notes")
    fill(source)
    copy(source, target, tmp_path / "manifest")
    assert content(target) == FILES


def test_the_store_copies_what_is_its_own(
    store: tuple[Path, Access], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = objects(store[1], "old", "own", tmp_path)
    target = objects(store[1], "new", "own", tmp_path)
    fill(source)
    monkeypatch.setattr(Objects, "write", lambda *_: pytest.fail("it went through the host"))
    copy(source, target, tmp_path / "manifest")
    assert content(target) == FILES


def test_what_the_store_does_not_copy_goes_through_the_host(
    store: tuple[Path, Access], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rclone's server copies no parts."""
    notes = tmp_path / "notes"
    source, target = (objects(store[1], name, "streamed", notes) for name in ("old", "new"))
    fill(source)
    monkeypatch.setattr(buckets, "_WHOLE", 1 << 20)
    copy(source, target, tmp_path / "manifest")
    assert content(target) == FILES
    assert list(notes.iterdir()) == []


def test_a_large_object_is_copied_in_parts_by_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("moto_server")
    port = free_port("127.0.0.1")
    argv = [program("moto_server"), "--host", "127.0.0.1", "--port", str(port)]
    with serving(argv, address="127.0.0.1", port=port, log=tmp_path / "log", environment={}):
        access = Access("us-east-1", f"http://127.0.0.1:{port}", "any", "any")
        source, target = (objects(access, name, "p", tmp_path / "notes") for name in ("old", "new"))
        for place in (source, target):
            place.bucket.call("PUT", "")
        fill(source)
        monkeypatch.setattr(buckets, "_WHOLE", 1 << 20)
        monkeypatch.setattr(buckets, "_COPIED_PART", 5 << 20)
        monkeypatch.setattr(Objects, "write", lambda *_: pytest.fail("it went through the host"))
        copy(source, target, tmp_path / "manifest")
        assert content(target) == FILES


def test_parts_of_a_killed_upload_are_taken_back(tmp_path: Path) -> None:
    with serve(TroubledS3()) as s3:
        access = Access("us-east-1", s3.endpoint, "any", "any")
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                upload = objects(access, "bucket", "p", tmp_path).write("a", 1 << 30)
                upload.__enter__().write(bytes(17 << 20))
                time.sleep(60)
            os._exit(0)
        deadline = time.monotonic() + 30
        while not any(s3.uploads.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert len(s3.uploads) == 1
        objects(access, "bucket", "p", tmp_path).sweep()
        assert s3.uploads == {} and list(tmp_path.iterdir()) == []


def test_bytes_that_arrive_wrong_are_no_copy(
    store: tuple[Path, Access], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = objects(store[1], "old", "wrong", tmp_path), objects(store[1], "new", "wrong", tmp_path)
    fill(source)

    def wrong(self: Objects, origin: Objects, entry: object, name: str) -> bool:
        with self.write(name, 5) as writer:
            writer.write(b"wrong")
        return True

    monkeypatch.setattr(Objects, "take", wrong)
    with pytest.raises(AgentError, match="does not arrive in s3://new/wrong as it was sent") as raised:
        copy(source, target, tmp_path / "manifest")
    assert raised.value.kind == "checksum"
    manifest = Manifest(str(tmp_path / "manifest"))
    assert manifest.all() == []


def test_no_credentials_in_words(store: tuple[Path, Access], tmp_path: Path) -> None:
    wrong = Access("us-east-1", store[1].endpoint_url, "KEY", "CANARY-other")
    with pytest.raises(AgentError) as raised:
        objects(wrong, "old", "", tmp_path).find(lambda: False)
    assert raised.value.kind == "store" and "CANARY" not in repr(raised.value)
    assert "CANARY" not in repr(wrong)


class TestTransaction:
    @pytest.fixture
    def site(self, tmp_path: Path, store: tuple[Path, Access], monkeypatch: pytest.MonkeyPatch) -> Iterator[MovingSite]:
        """Runs of one experiment in a bucket that can be read, and of another in one that is not there."""
        made = MovingSite(tmp_path / "server").make()
        play(made, monkeypatch.setattr)
        made.experiment(1, "s3://old/site/1")
        made.run_at("r", 1, "s3://old/site/1/r/artifacts")
        fill(objects(store[1], "old", "site", tmp_path))
        with served(made) as site:
            yield site

    def access(self, store: tuple[Path, Access]) -> dict[str, str]:
        access = store[1]
        return {
            "region": access.region,
            "endpoint_url": access.endpoint_url,
            "access_key_id": access.access_key_id,
            "secret_access_key": access.secret_access_key,
        }

    def test_from_a_bucket_into_the_folder(self, site: MovingSite, store: tuple[Path, Access]) -> None:
        answer = site.ask("move", source=self.access(store))
        assert site.place_of("r") == "mlflow-artifacts:/1/r/artifacts" and answer["files"] == 4
        assert content(Folder(str(site.artifacts_folder), "")) == FILES
        assert "SECRET" not in "".join(path.read_text() for path in (site.base / "moves").glob("*.json*"))
        assert site.ask("delete", source=self.access(store))["files"] == 4
        assert not list((store[0] / "old" / "site").rglob("*.txt"))

    def test_a_bucket_that_is_not_there_keeps_nothing_else_from_moving(
        self, site: MovingSite, store: tuple[Path, Access]
    ) -> None:
        site.experiment(2, "s3://nowhere/2")
        site.run_at("lost", 2, "s3://nowhere/2/lost/artifacts")
        seen = site.ask("look", source=self.access(store))
        assert seen["rows"] == {"experiments": 2, "runs": 1}
        assert ["no such bucket" in one["why"] for one in seen["left"]] == [True]
        site.ask("move", source=self.access(store))
        assert site.place_of("r") == "mlflow-artifacts:/1/r/artifacts"
        assert site.place_of("lost") == "s3://nowhere/2/lost/artifacts"

    def test_what_is_in_the_servers_own_bucket_is_only_renamed(
        self, site: MovingSite, store: tuple[Path, Access], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.artifacts_folder = store[0] / "old" / "site"
        monkeypatch.setattr(Objects, "take", lambda *_: pytest.fail("it was copied"))
        own = self.access(store)
        seen = site.ask("look", source=own, target=own, destination="s3://old/site")
        assert (seen["files"], seen["units"]) == (0, {"run": {"renamed": 1, "copied": 0}})
        answer = site.ask("move", source=own, target=own, destination="s3://old/site")
        assert site.place_of("r") == "mlflow-artifacts:/1/r/artifacts"
        assert answer["proof"]["files"] == 4 and answer["record"] == ""
