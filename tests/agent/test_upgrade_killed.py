"""An upgrade that is killed before any of its changes: its watchdog, the start of the server, or the next command makes
everything whole again, and so they do when they are killed, too."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import release_program
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.upgrade import at_start, copies, prepare, recover, safety, transaction, undo
from mlflow_provision.agent.upgrade.copies import Copied
from mlflow_provision.agent.upgrade.journal import (
    MAY_START,
    PHASES,
    RETURNING,
    STARTING,
    SWITCHING,
    UNDOING,
    VERIFYING,
    holding,
    journal_in,
)
from tests.agent.site_databases import NEW, OLD, as_a_killed_server_leaves, runs_of
from tests.agent.upgrading import NEW_RELEASE, OLD_RELEASE, Site, held, play

Fresh = Callable[[], Site]
_PATIENCE = 20.0


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A site whose server was killed: its last run is in the file beside its database only."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112 - every run of this syncs often
    with tempfile.TemporaryDirectory(dir=memory) as name:
        site = Site(Path(name, "template", "mlflow")).make()
        (site.root / "releases" / OLD_RELEASE / "bin" / "python").unlink()
        as_a_killed_server_leaves(site.tracking, "now-3")
        yield Path(name, "template")


@pytest.fixture
def fresh(template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fresh]:
    """Makes a copy of that site, where the last one was, with a server of its own."""
    folder = template.parent / "site"

    def copy() -> Site:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder, symlinks=True)
        site = Site(folder / "mlflow")
        (site.base / "venv").unlink()
        (site.base / "venv").symlink_to(site.root / "releases" / OLD_RELEASE)
        play(site, monkeypatch.setattr)
        return site

    # What happens before the server is stopped touches nothing; MLflow's migration takes no time here.
    monkeypatch.setattr(prepare, "on_copies", lambda *arguments: Copied())
    monkeypatch.setattr(safety, "back_up", lambda *arguments: "20261121T153012Z-4f2a9c")
    monkeypatch.setattr(release_program, "run", _migrate)
    # Whoever opens a database of a killed server mends it, as its next start would do.
    monkeypatch.setattr(copies, "revisions", lambda paths, owner: {"mlflow.db": OLD, "basic_auth.db": "u1"})
    yield copy
    shutil.rmtree(folder, ignore_errors=True)


def _migrate(release: str, config: str, program: str, request: dict[str, Any], stopping: Any) -> None:
    with closing(sqlite3.connect(request["tracking"])) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'bbb'")
        connection.execute("ALTER TABLE runs ADD COLUMN migrated TEXT")
        connection.commit()


def killed(work: Callable[[], object], point: int, watchdog: bool = False) -> bool:
    """Let it run in a process that is killed before its change number `point`; False: it has come to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if not watchdog:
                vars(transaction)["watched"] = lambda way_back: nullcontext()
            _die_before(point)
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _die_before(point: int) -> None:
    changes, ourselves = itertools.count(), os.getpid()

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **options: Any) -> Any:
            if os.getpid() == ourselves and next(changes) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        return change

    for name in ("rename", "replace", "unlink", "mkdir", "rmdir", "fsync", "symlink", "chmod"):
        setattr(os, name, counted(getattr(os, name)))
    for name in ("start", "stop"):
        setattr(BackgroundProcess, name, counted(getattr(BackgroundProcess, name)))


def phase_of(site: Site) -> str:
    return journal_in(str(site.base / "backup")).phase


def points(fresh: Fresh, watchdog: bool = False) -> Iterator[tuple[int, Site]]:
    """A site for each moment at which an upgrade can be killed, right after it."""
    for point in itertools.count():
        site = fresh()
        if not killed(site.run, point, watchdog):
            assert point > 40
            assert site.running == NEW_RELEASE
            return
        yield point, site


@pytest.fixture
def killed_in(fresh: Fresh, template: Path) -> Callable[[str], Site]:
    """Makes a site whose upgrade was killed at the last moment of a phase."""
    found = _LAST.setdefault(str(template), {})
    if not found:
        found.update({phase_of(site): point for point, site in points(fresh)})

    def make(phase: str) -> Site:
        site = fresh()
        assert killed(site.run, found[phase])
        assert phase_of(site) == phase
        return site

    return make


_LAST: dict[str, dict[str, int]] = {}


def is_as_it_was(site: Site, before: dict[str, Any]) -> bool:
    """Old or new, but never half: True for old."""
    assert not site.journal.exists()
    if site.running == NEW_RELEASE:
        assert held(site) == (NEW, ["now-1", "now-2", "now-3"])
        assert len(site.history) == 1
        return False
    assert site.running == OLD_RELEASE
    assert site.state_of_files() == before
    assert not (site.data / ".upgrade").exists()
    assert not (site.base / "new").exists()
    return True


def test_killed_anywhere_and_the_next_command_undoes_it(fresh: Fresh) -> None:
    before = fresh().state_of_files()
    phases, committed = set(), []
    for point, site in points(fresh):
        phases.add(phase_of(site))
        recover(str(site.base), site.events.append)
        if phase_of(site) == "" and not site.running:
            pytest.fail(f"nothing runs after {point}")
        clean_up_before_the_journal(site)
        committed.append(not is_as_it_was(site, before))
    assert phases == {"", *PHASES} - {UNDOING, RETURNING}
    assert committed == sorted(committed)  # there is one moment from which on it counts


def clean_up_before_the_journal(site: Site) -> None:
    """What was left before anything was touched goes with the next upgrade."""
    if site.running == OLD_RELEASE:
        shutil.rmtree(site.data / ".upgrade", ignore_errors=True)


def test_killed_anywhere_and_its_watchdog_undoes_it(fresh: Fresh) -> None:
    before = fresh().state_of_files()
    undone = 0
    for _, site in points(fresh, watchdog=True):
        wait_until_unlocked(site)
        clean_up_before_the_journal(site)
        undone += is_as_it_was(site, before)
    assert undone > 30


def wait_until_unlocked(site: Site) -> None:
    deadline = time.monotonic() + _PATIENCE
    path = Path(f"{site.journal}.lock")
    if not path.exists():
        return
    with path.open() as file:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.01)
    pytest.fail("the watchdog does not come to its end")


def test_killed_anywhere_and_the_start_of_the_server_undoes_it(fresh: Fresh) -> None:
    """A host that lost its power: nothing runs, and systemd starts the server as it finds it."""
    before = fresh().state_of_files()
    for point, site in points(fresh):
        (site.base / "running").unlink(missing_ok=True)
        phase = phase_of(site)
        assert at_start.allowed(str(site.base / "backup")) == 0
        assert not site.running, "systemd is about to start it"
        BackgroundProcess.start(undo_service(site), lambda: False)
        clean_up_before_the_journal(site)
        assert is_as_it_was(site, before) or not phase, point


def undo_service(site: Site) -> Any:
    from mlflow_provision.agent.resources import from_json

    return from_json(site.request()["service"])


def test_the_way_back_is_killed_anywhere_and_taken_again(fresh: Fresh, killed_in: Callable[[str], Site]) -> None:
    before = fresh().state_of_files()
    seen = set()
    for point in itertools.count():
        site = killed_in(VERIFYING)
        site.add_run("written-meanwhile")
        if not killed(partial(undo.undone, str(site.base / "backup"), site.events.append), point):
            break
        seen.add(phase_of(site))
        recover(str(site.base), site.events.append)
        assert is_as_it_was(site, before), point
        (kept,) = (site.base / "backup" / "upgrades").glob("*/databases/failed/mlflow.db")
        assert "written-meanwhile" in runs_of(kept)
    assert {UNDOING, RETURNING} <= seen
    assert point > 15


def test_two_that_go_back_at_once_wait_for_each_other(fresh: Fresh, killed_in: Callable[[str], Site]) -> None:
    before = fresh().state_of_files()
    site = killed_in(STARTING)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                undo.undone(str(site.base / "backup"), lambda event: None)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert is_as_it_was(site, before)


@pytest.mark.parametrize("phase", PHASES)
def test_while_somebody_works_only_their_own_start_is_let_through(fresh: Fresh, phase: str) -> None:
    site = fresh()
    journal = journal_in(str(site.base / "backup"))
    journal.write(phase)
    with holding(journal):
        pid = os.fork()
        if pid == 0:
            os._exit(at_start.allowed(journal.folder))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == (0 if phase in MAY_START else 1)
    assert journal.phase == phase


def test_an_interrupted_upgrade_does_not_keep_the_next_one(killed_in: Callable[[str], Site]) -> None:
    site = killed_in(SWITCHING)
    site.run()
    assert held(site) == (NEW, ["now-1", "now-2", "now-3"])
    assert len(list((site.base / "backup" / "upgrades").iterdir())) == 1


def test_undo_says_what_it_went_back_from(killed_in: Callable[[str], Site]) -> None:
    site = killed_in(STARTING)
    assert site.run("look")["unfinished"]["phase"] == "starting"
    (site.base / "backup" / "upgrade.ini").touch()
    answer = site.run("undo")
    assert sorted(path.name for path in (site.base / "backup").iterdir()) == ["state", "upgrades", "upgrading.lock"]
    assert (answer["action"], answer["from"]["version"], answer["to"]["version"]) == ("upgrade", "3.10.1", "3.17.2")
    assert "runs again" in answer["state"]
    assert held(site)[0] == OLD
