"""A restore that is killed before any of its changes: the next one, or the way back, makes everything whole again."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.backup.make import make
from mlflow_provision.agent.backup.settings import settings
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.restore.journal import PHASES, journal_in
from tests.agent.restoring import Site, play
from tests.agent.site_databases import STARTED, as_a_killed_server_leaves, make_tracking, make_users, runs_of, users_of

OLD = (["now-1", "now-2", "now-3", "now-4"], ["ada", "admin"])
NEW = (["then-1", "then-2"], ["admin", "bob"])


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A site with a backup, whose server was killed: its last run is in the file beside its database only."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112 - every run of this syncs often
    with tempfile.TemporaryDirectory(dir=memory) as name:
        site = Site(Path(name, "template", "server")).make()
        site.back_up()
        as_a_killed_server_leaves(site.tracking, "now-4")
        yield Path(name, "template")


@pytest.fixture
def fresh(template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Site]]:
    """Makes a copy of that site, where the last one was, with a server of its own."""
    folder = template.parent / "site"

    def copy() -> Site:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        (folder / "release/bin/python").write_text(
            (folder / "release/bin/python").read_text().replace(str(template), str(folder))
        )
        site = Site(folder / "server")
        play(site, monkeypatch.setattr)
        return site

    yield copy
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def half_way_points(template: Path) -> dict[str, int]:
    """Phase → where a restore is killed to be in it: in "switching" with both databases away."""
    folder = template.parent / "tried"
    found: dict[str, int] = {}
    for point in itertools.count():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)
        site = Site(folder / "server")
        with pytest.MonkeyPatch.context() as patched:
            play(site, patched.setattr)
            if not killed(site, "restore", point):
                return found
        phase = journal_in(str(site.base / "backup")).phase
        if phase != "switching" or not (site.tracking.exists() or site.users.exists()):
            found.setdefault(phase, point)
    return found


def killed(site: Site, action: str, point: int) -> bool:
    """Let it run in a process that is killed before its change number `point`; False: it has come to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _die_before(point)
            site.run(action)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _die_before(point: int) -> None:
    changes = itertools.count()

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **options: Any) -> Any:
            if next(changes) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return change

    for name in ("rename", "replace", "unlink", "mkdir", "rmdir", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    for name in ("start", "stop"):
        setattr(BackgroundProcess, name, counted(getattr(BackgroundProcess, name)))


def files(site: Site) -> dict[str, bytes]:
    """What the server had, bit for bit; what SQLite can make again is left out."""
    found = [path for path in site.data.glob("*.db*") if not path.name.endswith("-shm")]
    return {path.name: path.read_bytes() for path in [*found, site.secrets]}


def held(site: Site) -> tuple[list[str], list[str]]:
    return runs_of(site.tracking), users_of(site.users)


def no_server_could_do_harm(site: Site) -> None:
    """Whatever starts now, a host that was switched off and on for example: half of it must never be served."""
    if site.guard.exists():
        return
    copy = site.base.parent / "looked-at"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in site.data.glob("*.db*"):
        shutil.copyfile(path, copy / path.name)
    assert (runs_of(copy / "mlflow.db"), users_of(copy / "basic_auth.db")) in (OLD, NEW)


def nothing_is_left(site: Site) -> None:
    assert not journal_in(str(site.base / "backup")).read()
    assert not site.guard.exists()
    assert not (site.data / ".restore").exists()
    assert sorted(path.name for path in site.data.iterdir() if "-" not in path.name) == [
        "artifacts",
        "basic_auth.db",
        "mlflow.db",
    ]


def test_killed_anywhere_and_run_again(fresh: Callable[[], Site]) -> None:
    phases = set()
    for point in itertools.count():
        site = fresh()
        if not killed(site, "restore", point):
            break
        phases.add(journal_in(str(site.base / "backup")).phase)
        no_server_could_do_harm(site)
        site.run()
        assert held(site) == NEW, point
        assert "of-the-backup" in site.secrets.read_text()
        assert site.running
        nothing_is_left(site)
    assert phases == {"", "stopping", "switching", "starting"}
    assert point > 30


def test_killed_anywhere_and_undone(fresh: Callable[[], Site]) -> None:
    before = files(fresh())
    undone = 0
    for point in itertools.count():
        site = fresh()
        if not killed(site, "restore", point):
            break
        phase = journal_in(str(site.base / "backup")).phase
        if not phase:
            with pytest.raises(AgentError, match="no restore is half-way"):
                site.run("undo")
            assert (files(site) == before) != (held(site) == NEW)
            site = fresh()
            continue
        assert site.run("undo")["id"]
        assert files(site) == before, (point, phase)
        assert site.running
        nothing_is_left(site)
        assert held(site) == OLD
        undone += 1
    assert undone > 15


@pytest.mark.parametrize("phase", PHASES[1:3])
def test_the_way_back_is_killed_anywhere_and_taken_again(
    fresh: Callable[[], Site], half_way_points: dict[str, int], phase: str
) -> None:
    """From the middle of the switch, and from a server that others have written to since."""
    before = files(fresh())
    seen = set()
    for point in itertools.count():
        site = fresh()
        assert killed(site, "restore", half_way_points[phase])
        if phase == "starting":
            site.users.with_name("basic_auth.db-journal").write_bytes(b"of the restored one")
        if not killed(site, "undo", point):
            break
        seen.add(journal_in(str(site.base / "backup")).phase)
        no_server_could_do_harm(site)
        if not journal_in(str(site.base / "backup")).read():
            assert files(site) == before
            continue
        site.run("undo")
        assert files(site) == before, point
        nothing_is_left(site)
        assert held(site) == OLD
    assert {"undoing", "returning"} <= seen


@pytest.mark.parametrize("phase", PHASES[:3])
def test_another_backup_may_be_wanted_after_all(
    fresh: Callable[[], Site], half_way_points: dict[str, int], phase: str
) -> None:
    """What was interrupted is undone first: else the safety backup would be one of the wrong data."""
    site = fresh()
    assert killed(site, "restore", half_way_points[phase])
    site.back_up("20261130T000000Z-dddddd", sequence=9, runs=("another",))
    answer = site.run(id="20261130T000000Z-dddddd", safety=True)
    assert answer["safety"]
    site.run(id=answer["safety"])
    assert held(site) == OLD


def test_no_backup_is_made_of_what_is_half_way(fresh: Callable[[], Site], half_way_points: dict[str, int]) -> None:
    site = fresh()
    assert killed(site, "restore", half_way_points["switching"])
    make_tracking(site.tracking, [], STARTED)
    make_users(site.users, {"admin": "x"})
    with pytest.raises(AgentError, match="half-way"):
        make(settings(site.request()), "by schedule", False, site.events.append, lambda: False)


def test_a_setup_in_the_middle_makes_databases_that_count_for_nothing(
    fresh: Callable[[], Site], half_way_points: dict[str, int]
) -> None:
    before = files(fresh())
    site = fresh()
    assert killed(site, "restore", half_way_points["switching"])
    make_tracking(site.tracking, [], STARTED)
    make_users(site.users, {"admin": "x"})
    site.run("undo")
    assert files(site) == before
