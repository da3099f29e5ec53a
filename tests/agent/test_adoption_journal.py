"""The journal of an adoption, and the old unit that rests and comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.agent import command
from mlflow_provision.agent.adoption import rollback
from mlflow_provision.agent.adoption.journal import Journal, OldUnit
from mlflow_provision.agent.resources.adopted_data import AdoptedData

NAME = "mlflow-server.service"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of systemctl; the old server runs and starts at boot."""
    calls: list[str] = []

    def run(argv: list[str], **options: object) -> list[str]:
        calls.append(" ".join(argv[1:]))
        return []

    def capture(argv: list[str], timeout: float = 1) -> str:
        calls.append(" ".join(argv[1:]))
        return "ActiveState=active\nUnitFileState=enabled\n"

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(command, "capture", capture)
    return calls


@pytest.fixture
def unit(tmp_path: Path) -> OldUnit:
    path = tmp_path / NAME
    path.write_text("[Service]\nExecStart=old\n")
    (tmp_path / f"{NAME}.d").mkdir()
    (tmp_path / f"{NAME}.d/10.conf").write_text("[Service]\nEnvironment=OLD=1\n")
    return OldUnit(NAME, str(path), str(tmp_path / "adopted/unit"))


def test_the_old_unit_comes_back_with_its_drop_ins(unit: OldUnit, asked: list[str]) -> None:
    state = unit.state()
    assert state == {"active": True, "enabled": True}
    unit.save()
    unit.stop()
    assert asked[1:] == [f"stop {NAME}"]  # still enabled: a reboot now brings it back
    unit.retire(replaced=True)
    assert not Path(unit.path + ".d").exists()
    Path(unit.path).write_text("ours")
    asked.clear()
    unit.bring_back(state)
    assert Path(unit.path).read_text() == "[Service]\nExecStart=old\n"
    assert Path(unit.path + ".d/10.conf").read_text() == "[Service]\nEnvironment=OLD=1\n"
    assert asked == ["daemon-reload", f"reset-failed {NAME}", f"enable --quiet {NAME}", f"start {NAME}"]
    unit.bring_back(state)  # again, after a kill in the middle
    assert sorted(path.name for path in Path(unit.path).parent.iterdir()) == ["adopted", NAME, f"{NAME}.d"]


def test_a_unit_by_another_name_keeps_its_files(unit: OldUnit, asked: list[str]) -> None:
    unit.save()
    unit.retire(replaced=False)
    assert Path(unit.path + ".d/10.conf").exists()
    assert asked == [f"disable --quiet {NAME}"]


def test_what_was_stopped_and_disabled_stays_so(unit: OldUnit, asked: list[str]) -> None:
    unit.save()
    unit.bring_back({"active": False, "enabled": False})
    assert asked[-1] == f"disable --quiet {NAME}"


def test_each_attempt_keeps_the_unit_as_it_is_then(unit: OldUnit, asked: list[str]) -> None:
    unit.save()
    Path(unit.path).write_text("edited by a person")
    unit.save()
    unit.bring_back({"active": True, "enabled": True})
    assert Path(unit.path).read_text() == "edited by a person"
    assert asked


def test_the_journal_is_roots_alone_and_keeps_what_was_written_before(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    assert (journal.read(), journal.phase, journal.unfinished) == ({}, "", False)
    journal.write("stopping", old={"tree": "/t"}, served=False)
    journal.write("starting", served=True)
    assert journal.unfinished
    assert {**journal.read(), "since": ""} == {"old": {"tree": "/t"}, "served": True, "phase": "starting", "since": ""}
    assert Path(journal.folder).stat().st_mode & 0o777 == 0o700
    assert Path(journal.path("adoption.json")).stat().st_mode & 0o777 == 0o600
    journal.write("adopted")
    assert not journal.unfinished
    journal.keep("inventory.json", {"a": 1})
    assert journal.kept("inventory.json") == {"a": 1}
    assert journal.kept("other.json") == {}


def adopted(tmp_path: Path, served: bool) -> AdoptedData:
    """An adoption whose server never had a unit; databases and artifacts are copied."""
    base = tmp_path / "server"
    (base / "data/artifacts").mkdir(parents=True)
    for name in ("mlflow.db", "mlflow.db-wal", "basic_auth.db", "artifacts/a"):
        (base / "data" / name).write_text(name)
    (base / "deployment.json").write_text("{}")
    data = AdoptedData(
        id="adopted-data",
        old={"tree": "/t", "unit": "", "unit_file": ""},
        summary="",
        base=str(base),
        unit=NAME,
        unit_file=str(tmp_path / NAME),
        url="",
        owner="",
        release="",
        config="",
        secrets_env="",
        database=str(base / "data/mlflow.db"),
        auth_database=str(base / "data/basic_auth.db"),
        artifacts=str(base / "data/artifacts"),
        record=str(base / "deployment.json"),
        username="",
        password="",
    )
    (tmp_path / NAME).write_text("ours")
    was = {"active": False, "enabled": False}
    data.journal.write("starting" if served else "moving", old=data.old, was=was, served=served)
    return data


def test_what_others_may_have_written_to_ours_is_kept(tmp_path: Path, asked: list[str]) -> None:
    data = adopted(tmp_path, served=True)
    said = rollback.roll_back(data)
    folder = next(Path(data.journal.folder).glob("failed-*"))
    assert str(folder) in said
    kept = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert kept == ["artifacts/a", "basic_auth.db", "mlflow.db", "mlflow.db-wal"]
    assert not Path(data.database).exists()
    assert not Path(data.record).exists()
    assert not (tmp_path / NAME).exists()
    assert data.journal.phase == "rolled-back"
    assert asked[:2] == [f"stop {NAME}", f"disable --quiet {NAME}"]


def test_copies_that_nobody_could_write_to_are_no_loss(tmp_path: Path, asked: list[str]) -> None:
    data = adopted(tmp_path, served=False)
    rollback.roll_back(data)
    assert list(Path(data.journal.folder).glob("failed-*")) == []
    assert not Path(data.database).exists()
    assert Path(data.artifacts, "a").exists()  # what is the same need not be copied again
    assert asked


def test_a_way_back_that_was_killed_is_taken_again(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = adopted(tmp_path, served=True)
    with monkeypatch.context() as killing:
        killing.setattr(OldUnit, "bring_back", lambda self, was: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rollback.roll_back(data)
    assert data.journal.phase == "rolling-back"
    said = rollback.roll_back(data)
    assert data.journal.phase == "rolled-back"
    (folder,) = Path(data.journal.folder).glob("failed-*")
    assert str(folder) in said
    assert (folder / "mlflow.db").exists()
    assert asked
