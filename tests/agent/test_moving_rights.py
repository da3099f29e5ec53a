"""Whose rights count: places come from a database that users write to, and folders may be links by now."""

from __future__ import annotations

import os
import pwd
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.agent.moving.folder import Folder
from mlflow_provision.agent.moving.identity import files_of
from mlflow_provision.agent.protocol import AgentError
from tests.agent.moving_site import MovingSite, served
from tests.agent.restoring import play

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
OTHER = "daemon"


@pytest.fixture
def site(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MovingSite]:
    """As in system scope; the older server's folder is closed to the service user."""
    made = MovingSite(open_folder / "server").make()
    made.local()
    made.artifacts_folder.mkdir(exist_ok=True)
    made.store.mkdir(exist_ok=True)
    made.base.chmod(0o755)
    made.give_to(OTHER)
    made.old.chmod(0o700)
    play(made, monkeypatch.setattr)
    with served(made):
        yield made


def owner(path: Path) -> str:
    return pwd.getpwuid(path.stat().st_uid).pw_name


def test_a_closed_folder_is_not_read_without_a_word_about_it(site: MovingSite) -> None:
    seen = site.ask("look")
    assert seen["files"] == 0 and seen["rows"] == {}
    assert [one["why"] for one in seen["left"]] == [
        "the server cannot read it: if it is to be moved, name its folder with --as-root"
    ]


def test_with_that_word_it_is_moved_and_belongs_to_the_server(site: MovingSite) -> None:
    site.ask("move", as_root=[str(site.old)])
    copied = site.artifacts_folder / "5/r1/artifacts/a.txt"
    assert copied.read_text() == "a" and owner(copied) == OTHER and copied.stat().st_mode & 0o777 == 0o640
    assert owner(copied.parent) == OTHER and copied.parent.stat().st_mode & 0o777 == 0o750
    assert {owner(path) for path in site.data.iterdir()} == {OTHER}
    assert site.place_of("r1") == "mlflow-artifacts:/5/r1/artifacts"
    answer = site.ask("delete")
    assert (answer["files"], answer["kept"]) == (0, 5) and "--as-root" in "".join(answer["why"])
    assert site.ask("delete", as_root=[str(site.old)])["files"] == 5


def test_only_that_folder_and_what_is_in_it(site: MovingSite) -> None:
    site.run_at("greedy", 5, f"{site.old.parent}/mlruns-of-others/r/artifacts")
    secret = site.old.parent / "mlruns-of-others/r/artifacts/secret"
    secret.parent.mkdir(parents=True)
    secret.write_text("CANARY")
    secret.parents[2].chmod(0o700)
    site.ask("move", as_root=[str(site.old)])
    assert site.place_of("greedy").endswith("mlruns-of-others/r/artifacts")
    assert not list(site.artifacts_folder.rglob("secret"))


def test_a_link_among_the_servers_folders_leads_root_nowhere(site: MovingSite) -> None:
    outside = site.base.parent / "outside"
    outside.mkdir()
    (site.artifacts_folder / "5").symlink_to(outside)
    with pytest.raises(AgentError):
        site.ask("move", as_root=[str(site.old)])
    assert list(outside.iterdir()) == [] and site.place_of("r1") == f"{site.old}/5/r1/artifacts"


def test_a_folder_that_is_a_link_to_one_of_root_is_not_written_to(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o755)
    (open_folder / "artifacts").symlink_to(closed)
    with (
        pytest.raises(AgentError, match="Permission denied"),
        Folder(str(open_folder / "artifacts"), OTHER).write("a", 1),
    ):
        pass
    assert list(closed.iterdir()) == []


def test_rights_are_those_of_one_thread_and_blocks_may_be_nested(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    seen: list[list[Path]] = []
    now = threading.Event()

    def look() -> None:
        now.wait()
        seen.append(list(closed.iterdir()))

    other = threading.Thread(target=look)
    other.start()
    with files_of(OTHER):
        with pytest.raises(PermissionError):
            list(closed.iterdir())
        now.set()
        other.join()
        with files_of(""):
            assert list(closed.iterdir()) == []
        with pytest.raises(PermissionError):
            list(closed.iterdir())
    assert seen == [[]] and list(closed.iterdir()) == []
