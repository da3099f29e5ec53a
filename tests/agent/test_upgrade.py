"""An upgrade on the host: what it changes, what it leaves, and that it goes back from whatever fails."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent import command
from mlflow_provision.agent.backup.listing import listed
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.databases import journal
from mlflow_provision.agent.lock import held as locked
from mlflow_provision.agent.protocol import AgentError, Result, Start
from mlflow_provision.agent.resources import file
from mlflow_provision.agent.upgrade import copies, serve
from mlflow_provision.agent.upgrade.journal import SWITCHING, journal_in
from tests.agent.restoring import PASSWORD
from tests.agent.site_databases import NEW, OLD, as_a_killed_server_leaves, runs_of, users_of
from tests.agent.upgrading import NEW_RELEASE, OLD_RELEASE, Site, held, play


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path / "mlflow").make()
    play(made, monkeypatch.setattr)
    return made


def test_an_upgrade_brings_release_databases_and_files(site: Site) -> None:
    answer = site.run()
    assert site.running == NEW_RELEASE
    assert held(site) == (NEW, ["now-1", "now-2"])
    assert users_of(site.users) == ["ada", "admin"]
    assert site.config.read_text() == "[mlflow]\n"
    assert json.loads((site.base / "deployment.json").read_text())["release"] == NEW_RELEASE
    assert answer["from"]["version"] == "3.10.1"
    assert answer["to"]["release"] == NEW_RELEASE
    assert answer["schema"] == {"mlflow.db": [OLD, NEW], "basic_auth.db": ["u1", "u1"]}
    assert not site.journal.exists()
    assert not (site.data / ".upgrade").exists()
    assert not (site.base / "backup" / "upgrade.ini").exists()


def test_its_history_has_the_old_databases(site: Site) -> None:
    answer = site.run()
    (entry,) = site.history
    assert entry["id"] == answer["entry"]
    assert (entry["from"]["release"], entry["from"]["schema"]["mlflow.db"]) == (OLD_RELEASE, OLD)
    assert (entry["to"]["release"], entry["to"]["schema"]["mlflow.db"]) == (NEW_RELEASE, NEW)
    assert runs_of(Path(entry["old"], "mlflow.db")) == ["now-1", "now-2"]
    assert {Path(path).name for path in entry["files"]} == {"basic_auth.ini", "venv", "deployment.json"}


def test_a_backup_is_made_and_verified_before(site: Site) -> None:
    answer = site.run()
    (made,) = listed(FolderStore(f"{site.store}/server"))
    assert made.manifest
    assert (made.id, made.manifest.reason) == (answer["backup"], "before upgrading to 3.17.2")
    assert made.manifest.schema["mlflow.db"] == OLD
    assert json.loads((site.state / "last.json").read_text())["verified"]["id"] == made.id


def test_without_a_place_for_backups_there_is_one_of_ours(site: Site) -> None:
    request = site.request()
    place = site.base / "backup" / "upgrades-store"
    request["settings"]["place"]["destination"] = str(place)
    serve(request, "ada@laptop", site.events.append, lambda: False)
    assert listed(FolderStore(f"{place}/server"))
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_rehearsal_leaves_the_server_alone(site: Site) -> None:
    before = site.state_of_files()
    answer = site.run("rehearse")
    assert site.state_of_files() == before
    assert site.running == OLD_RELEASE
    assert answer["schema"]["mlflow.db"] == [OLD, NEW]
    assert set(answer["seconds"]) == {"install", "copy", "migrate", "compare"}
    assert answer["bytes"] > 0
    assert not site.store.exists()
    assert site.run("look")["rehearsed"]["schema"] == answer["schema"]
    assert site.run("look", OLD_RELEASE)["rehearsed"] is None


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("migration-fails", "the migration failed"),
        ("migration-loses", "loses data: metrics: 2 rows before, 1 after"),
        ("migration-stops", "left the tracking database at aaa, not at bbb"),
    ],
)
@pytest.mark.parametrize("action", ["rehearse", "upgrade"])
def test_what_fails_on_a_copy_never_touches_the_server(site: Site, action: str, trouble: str, said: str) -> None:
    site.trouble(trouble)
    before = site.state_of_files()
    with pytest.raises(AgentError) as raised:
        site.run(action)
    assert said in raised.value.message
    assert site.state_of_files() == before
    assert site.running == OLD_RELEASE
    assert not site.store.exists()
    assert not (site.data / ".upgrade").exists()


def test_a_damaged_database_is_told_before_anything_is_done(site: Site) -> None:
    size = site.tracking.stat().st_size
    with site.tracking.open("r+b") as file:
        file.seek(size - 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(AgentError, match=r"damaged|malformed"):
        site.run()
    assert site.running == OLD_RELEASE
    assert not site.journal.exists()


def test_no_room_is_told_before_anything_is_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_SPARE", 1 << 60)
    with pytest.raises(AgentError, match="there is no room in") as raised:
        site.run()
    assert raised.value.kind == "disk"
    assert site.running == OLD_RELEASE


def test_without_a_good_backup_nothing_happens(site: Site) -> None:
    (site.base / "etc" / "secrets.env").unlink()
    with pytest.raises(AgentError, match=r"no good backup can be made before: .*secrets.env is missing"):
        site.run()
    assert site.running == OLD_RELEASE
    assert held(site)[0] == OLD


def fails_late(site: Site, how: str) -> AgentError:
    site.trouble(how)
    with pytest.raises(AgentError) as raised:
        site.run()
    return raised.value


@pytest.mark.parametrize("how", [f"{NEW_RELEASE}-dies", "fails-verification"])
def test_a_new_server_that_is_no_good_gives_way_to_the_old_one(site: Site, how: str) -> None:
    before = site.state_of_files()
    error = fails_late(site, how)
    assert "Nothing is lost: the server runs again as before, with MLflow 3.10.1" in error.message
    assert site.running == OLD_RELEASE
    after = site.state_of_files()
    after.pop(how)
    assert after == before
    assert not site.journal.exists()
    assert not site.history
    site.trouble(how, on=False)
    site.run()
    assert site.running == NEW_RELEASE


def test_what_somebody_wrote_to_the_new_server_is_kept_aside(site: Site) -> None:
    site.trouble("somebody-writes")
    error = fails_late(site, "fails-verification")
    assert held(site) == (OLD, ["now-1", "now-2"])
    kept = error.message.rpartition("held is in ")[2]
    assert runs_of(Path(kept, "mlflow.db")) == ["now-1", "now-2", "written-meanwhile"]


def test_the_migration_has_begun_before_the_server_is_stopped(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing MLflow takes longer than most migrations, and nobody is served meanwhile."""
    order: list[str] = []
    waiting = command.waiting

    def noted(*arguments: Any) -> Any:
        order.append("ready")
        return waiting(*arguments)

    monkeypatch.setattr(command, "waiting", noted)
    request = site.request()
    serve(request, "ada", lambda event: order.append(event.step) if isinstance(event, Start) else None, lambda: False)
    assert order.index("ready") < order.index("stop")


def test_a_server_that_never_answered_leaves_nothing(site: Site) -> None:
    error = fails_late(site, f"{NEW_RELEASE}-dies")
    assert "held is in" not in error.message
    assert list((site.base / "backup" / "upgrades").iterdir()) == []


def test_a_way_back_whose_server_does_not_start_says_so_and_is_over(site: Site) -> None:
    site.trouble(f"{OLD_RELEASE}-dies")
    error = fails_late(site, f"{NEW_RELEASE}-dies")
    assert "And the way back failed: the old databases and files are back, but the old server does not" in error.message
    assert held(site)[0] == OLD
    assert not site.journal.exists()


def test_a_disk_that_is_full_does_not_keep_it_from_going_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the journal can be written once the databases are replaced."""
    before = site.state_of_files()
    write = file.replace

    def full(path: str, content: str, mode: int) -> None:
        if journal_in(str(site.journal.parent)).phase == SWITCHING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content, mode)

    monkeypatch.setattr(journal, "replace", full)
    with pytest.raises(AgentError, match="Nothing is lost: the server runs again as before"):
        site.run()
    assert site.state_of_files() == before
    assert site.running == OLD_RELEASE


def test_a_request_to_stop_goes_back(site: Site) -> None:
    before = site.state_of_files()

    def stopping() -> bool:
        return any(isinstance(event, Result) and event.step == "switch-databases" for event in site.events)

    with pytest.raises(AgentError, match="Nothing is lost") as raised:
        serve(site.request(), "ada@laptop", site.events.append, stopping)
    assert raised.value.kind == "interrupted"
    assert site.state_of_files() == before
    assert site.running == OLD_RELEASE


def test_a_server_that_did_not_run_stays_stopped_when_it_fails(site: Site) -> None:
    (site.base / "running").unlink()
    error = fails_late(site, "fails-verification")
    assert "the server is stopped, as it was" in error.message
    assert not site.running


def test_what_a_killed_server_left_beside_its_database_comes_along(site: Site) -> None:
    as_a_killed_server_leaves(site.tracking, "only-in-the-log")
    site.run()
    assert held(site) == (NEW, ["now-1", "now-2", "only-in-the-log"])


def test_a_backup_under_way_is_waited_for_by_the_person(site: Site) -> None:
    (site.state / "lock").touch()
    with locked(str(site.state / "lock"), "the schedule", "backup"), pytest.raises(AgentError) as raised:
        site.run()
    assert raised.value.kind == "locked"
    assert site.running == OLD_RELEASE
    assert not site.journal.exists()


def test_a_restore_that_is_half_way_comes_first(site: Site) -> None:
    (site.base / "backup" / "restoring").touch()
    with pytest.raises(AgentError, match="a restore of this server was interrupted"):
        site.run()


def test_a_database_newer_than_the_release_is_refused(site: Site) -> None:
    with closing(sqlite3.connect(site.tracking)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ccc'")
        connection.commit()
    with pytest.raises(AgentError, match="newer schema") as raised:
        site.run()
    assert raised.value.kind == "newer"


def test_a_rollback_brings_the_old_databases_back(site: Site) -> None:
    site.run()
    site.add_run("after")
    look = site.run("look", OLD_RELEASE)
    (entry,) = look["history"]
    assert entry["target"]
    assert not entry["keeps_data"]
    assert entry["lost"]["runs"] == 1
    answer = site.roll_back(entry=entry["id"])
    assert site.running == OLD_RELEASE
    assert held(site) == (OLD, ["now-1", "now-2"])
    assert site.config.read_text() == "[mlflow]\nadmin_password =\n"
    assert (answer["data"], answer["lost"]["runs"]) == ("old", 1)
    assert runs_of(Path(answer["kept_aside"], "mlflow.db")) == ["after", "now-1", "now-2"]
    assert not any(entry["target"] for entry in site.run("look", OLD_RELEASE)["history"])
    with pytest.raises(AgentError, match="no such upgrade"):
        site.roll_back()


def test_a_rollback_without_another_schema_keeps_todays_data(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(site.tracking)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'bbb'")
        connection.commit()
    monkeypatch.setattr("tests.agent.upgrading.OLD", NEW)
    versions = site.root / "releases" / OLD_RELEASE / "lib/python3.11/site-packages/mlflow/store/db_migrations/versions"
    (versions / "bbb.py").write_text('revision = "bbb"\ndown_revision = "aaa"\n')
    site.run()
    site.add_run("after")
    (entry,) = site.run("look", OLD_RELEASE)["history"]
    assert entry["keeps_data"]
    assert entry["lost"] == {}
    answer = site.roll_back()
    assert answer["data"] == "kept"
    assert held(site) == (NEW, ["after", "now-1", "now-2"])
    assert site.running == OLD_RELEASE


def test_after_a_rollback_todays_password_works(site: Site) -> None:
    with closing(sqlite3.connect(site.users)) as connection:
        connection.execute("UPDATE users SET password_hash = 'of long ago' WHERE username = 'admin'")
        connection.commit()
    site.run()
    with closing(sqlite3.connect(site.users)) as connection:
        connection.execute("UPDATE alembic_version_auth SET version_num = 'u2'")
        connection.commit()
    site.roll_back()
    with closing(sqlite3.connect(site.users)) as connection:
        (found,) = connection.execute("SELECT password_hash FROM users WHERE username = 'admin'").fetchone()
    assert found.startswith("scrypt:")


def test_a_rollback_that_fails_leaves_the_new_server(site: Site) -> None:
    site.run()
    site.add_run("after")
    before = site.state_of_files()
    site.trouble(f"{OLD_RELEASE}-dies")
    with pytest.raises(AgentError, match=r"the server runs again as before, with MLflow 3\.17\.2"):
        site.roll_back()
    site.trouble(f"{OLD_RELEASE}-dies", on=False)
    assert site.state_of_files() == before
    assert site.running == NEW_RELEASE
    site.roll_back()
    assert held(site) == (OLD, ["now-1", "now-2"])


def test_an_old_database_that_is_gone_is_told(site: Site) -> None:
    site.run()
    Path(site.history[0]["old"], "mlflow.db").unlink()
    assert not site.run("look", OLD_RELEASE)["history"][0]["target"]
    with pytest.raises(AgentError, match="is gone"):
        site.roll_back()
    assert site.running == NEW_RELEASE


def test_a_look_says_what_is_there(site: Site) -> None:
    look = site.run("look")
    assert (look["version"], look["release"]) == ("3.10.1", OLD_RELEASE)
    assert look["schema"] == {"mlflow.db": OLD, "basic_auth.db": "u1"}
    assert look["target"] == {"installed": True, "schema": {"mlflow.db": NEW, "basic_auth.db": "u1"}}
    assert look["rows"] == {"experiments": 1, "runs": 2, "users": 2}
    assert look["disk_needed"] == sum(look["needs"].values()) > 0
    assert look["history"] == []
    assert look["unfinished"] is None
    assert {release["name"]: release["used_by"] for release in look["releases"]} == {
        OLD_RELEASE: ["server"],
        NEW_RELEASE: [],
    }


def test_undo_has_nothing_to_do(site: Site) -> None:
    assert site.run("undo")["action"] == ""


def test_no_secret_is_told_or_written(site: Site) -> None:
    site.run()
    site.trouble("fails-verification")
    with pytest.raises(AgentError):
        site.roll_back()
    told = "".join(map(repr, site.events))
    written = [path for path in (site.base / "backup").rglob("*") if path.is_file() and "store" not in path.parts]
    for secret in (PASSWORD, "CANARY"):
        assert secret not in told
        assert not [path for path in written if secret.encode() in path.read_bytes()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_in_system_scope_the_databases_stay_the_service_users(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    site = Site(open_folder / "mlflow").make()
    play(site, monkeypatch.setattr)
    site.owner = "nobody"
    group = "nogroup"
    for folder in (site.data, site.state):
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody", group)
    site.store.mkdir()
    shutil.chown(site.store, "nobody", group)

    request: dict[str, Any] = site.request()
    monkeypatch.setattr("mlflow_provision.agent.resources.ownership.ids", _ids)
    serve(request, "ada@laptop", site.events.append, lambda: False)
    assert held(site)[0] == NEW
    assert {path.owner() for path in site.data.iterdir()} == {"nobody"}
    assert Path(site.history[0]["old"]).owner() == "nobody"
    assert Path(site.history[0]["old"]).stat().st_mode & 0o777 == 0o700


def _ids(owner: str, group: str) -> tuple[int, int]:
    import grp
    import pwd

    gid = grp.getgrnam("nogroup" if group == "nobody" else group).gr_gid if group else -1
    return (pwd.getpwnam(owner).pw_uid if owner else -1, gid)


def test_a_migration_that_fails_is_told_without_the_way_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["Traceback (most recent call last):", '  File "env.py", line 1', "    run()", "sa.Error: no", "[SQL: x]"]

    def fails(*_: object) -> None:
        raise command.CommandFailed(["python"], 1, lines)

    monkeypatch.setattr("mlflow_provision.agent.databases.migration.migrate", fails)
    with pytest.raises(AgentError) as raised:
        site.run("rehearse")
    assert raised.value.message.endswith("cannot migrate a copy of the databases:\nsa.Error: no\n[SQL: x]")
    assert raised.value.hint
    with pytest.raises(AgentError, match=r"\[SQL: x\]\nNothing was changed: \w+ stays with MLflow 3"):
        site.run()


def test_a_request_to_stop_while_copies_are_migrated(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.state_of_files()

    def stopped(*_: object) -> None:
        raise AgentError("stopped while python was running", kind="interrupted")

    monkeypatch.setattr("mlflow_provision.agent.databases.migration.migrate", stopped)
    with pytest.raises(AgentError) as raised:
        site.run()
    told, state = raised.value.message.splitlines()
    assert told == "stopped while copies of the databases were migrated" and state.startswith("Nothing was changed: ")
    assert raised.value.kind == "interrupted"
    assert site.state_of_files() == before
