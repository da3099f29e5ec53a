"""System scope: what makes a server go back by itself before it starts, while an upgrade is in its dangerous part."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.databases.journal import Journal
from mlflow_provision.agent.protocol import AgentError, Start
from mlflow_provision.agent.upgrade import serve
from mlflow_provision.agent.upgrade.journal import STARTING, STOPPING, SWITCHING, holding, journal_in
from tests.agent.fake_programs import FakePrograms
from tests.agent.site_databases import OLD
from tests.agent.upgrading import NEW_RELEASE, OLD_RELEASE, Site, held, play


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: FakePrograms) -> Site:
    programs.add("systemctl", "true")
    made = Site(tmp_path / "mlflow").make()
    play(made, monkeypatch.setattr)
    return made


def drop_in(site: Site) -> Path:
    return site.root.parent / "units" / "mlflow-server.service.d" / "upgrade.conf"


def upgrade(site: Site, seen: dict[str, str], **changed: Any) -> None:
    """Upgrade, and see at every step what the drop-in says."""

    def listening(event: Any) -> None:
        if isinstance(event, Start):
            seen[event.step] = drop_in(site).read_text() if drop_in(site).exists() else ""

    request = site.request(unit="mlflow-server.service", units=str(drop_in(site).parent.parent), **changed)
    serve(request, "ada@laptop", listening, lambda: False)


def command(text: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStartPre=+")]
    return shlex.split(line.partition("+")[2])


def test_it_is_there_exactly_as_long_as_it_matters(site: Site, programs: FakePrograms) -> None:
    seen: dict[str, str] = {}
    upgrade(site, seen)
    assert not seen["backup-manifest"]
    for step in ("stop", "copy", "switch-databases", "start", "commit"):
        assert seen[step], step
    assert not drop_in(site).exists()
    assert not drop_in(site).parent.exists()
    assert programs.calls == ["systemctl daemon-reload"] * 3  # with it, with the new files, without it
    assert site.running == NEW_RELEASE


def test_it_is_there_before_the_journal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that loses its power in between comes back as if nothing had been."""
    seen, written = {}, Journal.write

    def write(self: Journal, phase: str, **more: Any) -> None:
        seen[phase] = command(drop_in(site).read_text())
        if phase == STOPPING:
            assert subprocess.run(seen[phase], timeout=60, check=False, cwd="/").returncode == 0
            assert drop_in(site).exists()  # somebody is at work
        written(self, phase, **more)

    monkeypatch.setattr(Journal, "write", write)
    upgrade(site, {})
    assert STOPPING in seen
    drop_in(site).parent.mkdir(parents=True)
    drop_in(site).touch()
    assert subprocess.run(seen[STOPPING], timeout=60, check=False, cwd="/").returncode == 0
    assert not drop_in(site).parent.exists()


@pytest.mark.parametrize("name", ["write", "end"])
def test_it_goes_when_the_upgrade_fails_before_or_after_its_journal(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    done = getattr(Journal, name)

    def fails(self: Journal, *arguments: Any, **more: Any) -> None:
        if name == "end":
            done(self)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, name, fails)
    with pytest.raises(AgentError, match="No space left"):
        upgrade(site, {})
    assert not drop_in(site).parent.exists()


def test_it_goes_when_the_upgrade_goes_back(site: Site) -> None:
    site.trouble("fails-verification")
    seen: dict[str, str] = {}
    with pytest.raises(AgentError, match="runs again as before"):
        upgrade(site, seen)
    assert seen["start"]
    assert not drop_in(site).parent.exists()


def test_what_others_have_in_its_folder_stays(site: Site) -> None:
    drop_in(site).parent.mkdir(parents=True)
    other = drop_in(site).with_name("memory.conf")
    other.write_text("[Service]\nMemoryMax=2G\n")
    upgrade(site, {})
    assert [path.name for path in drop_in(site).parent.iterdir()] == ["memory.conf"]


@pytest.fixture
def half_way(site: Site) -> list[str]:
    """A site whose upgrade was cut off before its new server was verified; what systemd would run before it starts."""
    seen: dict[str, str] = {}
    journal = journal_in(str(site.base / "backup"))
    written = Journal.write

    def cut_off(self: Journal, phase: str, **more: Any) -> None:
        written(self, phase, **more)
        if phase == STARTING:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "write", cut_off)
        patched.setattr("mlflow_provision.agent.upgrade.transaction._failed", lambda wanted, error, emit: error)
        with pytest.raises(KeyboardInterrupt):
            upgrade(site, seen)
    assert journal.phase == STARTING
    return command(drop_in(site).read_text())


def test_its_command_goes_back_when_nobody_is_at_work(site: Site, half_way: list[str]) -> None:
    assert half_way[0] == sys.executable
    done = subprocess.run(half_way, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "going back to what was here before" in done.stdout
    assert held(site) == (OLD, ["now-1", "now-2"])
    assert (site.base / "venv").readlink().name == OLD_RELEASE
    assert not site.journal.exists()
    assert not drop_in(site).parent.exists()
    assert not site.running
    again = subprocess.run(half_way, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert (again.returncode, again.stdout) == (0, "")


def test_its_command_refuses_a_start_in_the_middle_of_a_switch(site: Site, half_way: list[str]) -> None:
    journal = journal_in(str(site.base / "backup"))
    with holding(journal):
        assert subprocess.run(half_way, timeout=60, check=False, cwd="/").returncode == 0
        journal.write(SWITCHING)
        assert subprocess.run(half_way, timeout=60, check=False, cwd="/").returncode == 1
    assert journal.phase == SWITCHING


def test_its_command_says_why_it_cannot_go_back(site: Site, half_way: list[str]) -> None:
    kept = next((site.base / "backup" / "upgrades").iterdir()) / "files"
    for path in kept.iterdir():
        path.unlink()
    done = subprocess.run(half_way, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 1
    assert "No such file" in done.stderr
    assert site.journal.exists()
