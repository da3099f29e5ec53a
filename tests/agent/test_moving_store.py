"""The whole store moves to another folder: with all that changed meanwhile, or the server has its old one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.moving import relocation
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from tests.agent.moving_site import MovingSite, served
from tests.agent.restoring import play

NEW, OLD = [{"kind": "Directory", "id": "new", "path": "/new"}], [{"kind": "Directory", "id": "old", "path": "/old"}]


class Store(MovingSite):
    """`new` is where the store is to be; `applied` what the host was made like."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.old_place = self.artifacts_folder
        self.new = base.parent / "large disk" / "artifacts"
        self.applied: list[str] = []
        self.ran: list[bool] = []  # was the server running when that happened?
        self.fails = False

    def apply(self, resources: Any, emit: Any, stopping: Any) -> int:
        if not resources:
            return 0
        name = resources[0].id
        self.applied.append(name)
        self.ran.append(self.running)
        self.artifacts_folder = self.old_place if name == "old" else self.new
        if self.fails and name == "new":
            raise AgentError("it does not like that")
        self.set_running(True)
        return 1

    def keep(self, path: str, text: str) -> Path:
        file = self.old_place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def move_to(self, action: str = "relocate", **changed: Any) -> dict[str, Any]:
        more = {"to": str(self.new), "resources": NEW, "old_resources": OLD, **changed}
        return self.ask(action, destination=str(self.old_place), **more)

    def files(self) -> dict[str, str]:
        return {str(path.relative_to(self.new)): path.read_text() for path in self.new.rglob("*") if path.is_file()}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store(tmp_path / "server")
    made.make()
    play(made, monkeypatch.setattr)
    monkeypatch.setattr(relocation, "apply", made.apply)
    made.keep("1/r/artifacts/a.txt", "a")
    made.keep("1/models/m/artifacts/w", "w" * 1000)
    with served(made):
        yield made


def at_the_stop(site: Store, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """What happens while the server is being stopped."""
    stop = BackgroundProcess.stop

    def stopped(self: BackgroundProcess, stopping: Callable[[], bool]) -> dict[str, Any]:
        change()
        return stop(self, stopping)

    monkeypatch.setattr(BackgroundProcess, "stop", stopped)


def test_a_look_counts_and_makes_nothing(site: Store) -> None:
    assert site.move_to("look-store") == {
        "files": 2,
        "bytes": 1001,
        "files_left": 2,
        "bytes_left": 1001,
        "direct": 0,
        "originals": [],
    }
    assert not site.new.exists() and not (site.base / "moves").exists()


def test_everything_is_there_afterwards_and_the_old_place_stays(site: Store) -> None:
    answer = site.move_to()
    assert site.files() == {"1/r/artifacts/a.txt": "a", "1/models/m/artifacts/w": "w" * 1000}
    assert site.applied == ["new"] and site.running
    assert (answer["files"], answer["proof"]["files"], answer["proof"]["units"]) == (2, 2, 2)
    assert (site.old_place / "1/r/artifacts/a.txt").read_text() == "a"
    assert not list((site.base / "moves").glob("store-*"))


def test_what_changes_while_it_is_copied_comes_too(site: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def change() -> None:
        site.keep("1/r/artifacts/late.txt", "late")
        site.keep("1/r/artifacts/a.txt", "again")
        (site.old_place / "1/models/m/artifacts/w").unlink()

    at_the_stop(site, monkeypatch, change)
    site.move_to()
    assert site.files() == {"1/r/artifacts/a.txt": "again", "1/r/artifacts/late.txt": "late"}


def test_a_server_that_does_not_take_it_has_the_old_one(site: Store) -> None:
    site.fails = True
    with pytest.raises(AgentError, match=r"does not like that\nNothing is lost: the server runs with .* as before"):
        site.move_to()
    assert site.applied == ["new", "old"] and site.running and site.artifacts_folder == site.old_place
    assert site.move_to("look-store")["files_left"] == 0


def test_bytes_that_the_server_gets_wrong_lead_back(site: Store) -> None:
    site.lies.add("1/r/artifacts/a.txt")
    with pytest.raises(AgentError, match="does not give back"):
        site.move_to()
    assert site.applied == ["new", "old"]


def test_what_clients_write_over_meanwhile_is_not_wrong(site: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server runs again while its artifacts are read."""
    answer = site.answer
    versions = iter(range(5))

    def written_over(target: str) -> tuple[int, bytes]:
        number = next(versions, None) if target.endswith("/a.txt") else None
        if number is not None:
            (site.new / "1/r/artifacts/a.txt").write_text("before" * (number + 1))
        found = answer(target)
        if number is not None:
            (site.new / "1/r/artifacts/a.txt").write_text("after" * (number + 1))
        return found

    monkeypatch.setattr(site, "answer", written_over)
    site.move_to()
    assert site.applied == ["new"] and site.files()["1/r/artifacts/a.txt"] == "after" * 5


def test_what_clients_delete_meanwhile_is_not_wrong(site: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when it was listed."""
    answer = site.answer

    def written_over_and_deleted(target: str) -> tuple[int, bytes]:
        found = answer(target)
        if target.endswith("/a.txt"):
            (site.new / "1/r/artifacts/a.txt").unlink(missing_ok=True)
            return 200, b"something else"
        return found

    monkeypatch.setattr(site, "answer", written_over_and_deleted)
    site.move_to()
    assert site.applied == ["new"] and set(site.files()) == {"1/models/m/artifacts/w"}


def test_what_is_still_being_uploaded_is_no_artifact(site: Store) -> None:
    """MLflow writes beside the place where it will be, and shows that to nobody."""
    site.keep("1/r/artifacts/.artifact.uploading.x6c1lxpz", "half")
    assert site.move_to()["files"] == 2
    assert set(site.files()) == {"1/r/artifacts/a.txt", "1/models/m/artifacts/w"}


def test_what_clients_sent_to_the_new_place_comes_back_with_it(site: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = site.answer

    def sent(target: str) -> tuple[int, bytes]:
        for name in ("1/r/artifacts/a.txt", "1/r/artifacts/new.txt"):
            (site.new / name).write_text("from a client")
        return answer(target)

    monkeypatch.setattr(site, "answer", sent)
    site.lies.add("1/models/m/artifacts/w")
    with pytest.raises(AgentError, match=r"does not give back(.|\n)*2 artifacts that came meanwhile were brought back"):
        site.move_to()
    assert site.applied == ["new", "old"]
    there = {path.name: path.read_text() for path in site.old_place.rglob("*.txt")}
    assert there == {"a.txt": "from a client", "new.txt": "from a client"}
    monkeypatch.setattr(site, "answer", answer)
    site.lies.clear()
    site.move_to()
    assert site.files()["1/r/artifacts/new.txt"] == "from a client"
    assert not list((site.base / "moves").glob("arrived*"))


def test_packages_come_before_the_server_stops(site: Store) -> None:
    site.move_to(resources=[{"kind": "Directory", "id": "release", "path": "/release"}, *NEW])
    assert site.applied == ["release", "release"] and site.ran == [True, False]


def test_a_link_is_refused_before_anything_stops(site: Store) -> None:
    (site.old_place / "1/r/artifacts/link").symlink_to("/etc/hostname")
    with pytest.raises(AgentError, match=r"1/r/artifacts/link is a link"):
        site.move_to()
    assert site.running and site.applied == []


@pytest.mark.parametrize("inner", [True, False])
def test_one_place_inside_of_the_other_is_refused(site: Store, inner: bool) -> None:
    to = str(site.old_place / "x" if inner else site.old_place.parent)
    with pytest.raises(AgentError, match="inside of the other"):
        site.move_to("look-store", to=to)


def test_the_originals_go_when_that_is_asked(site: Store) -> None:
    site.move_to()
    answer = site.ask("delete", destination=str(site.new))
    assert answer["files"] == 2 and not list(site.old_place.rglob("*.txt"))
    assert site.files()["1/r/artifacts/a.txt"] == "a"
