"""The verb `restore`: what comes back, what is refused, and what happens when something goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.lock import held
from mlflow_provision.agent.protocol import CHANGED, FAILED, AgentError, Result
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.resources.base import Context
from tests.agent.converge import needs_root, snapshot
from tests.agent.restoring import ID, PASSWORD, SECRETS, Site, play
from tests.agent.site_databases import OLD, STARTED, make_tracking, make_users, runs_of, users_of


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A running server, and a backup in the store."""
    made = Site(tmp_path / "server").make()
    play(made, monkeypatch.setattr)
    return made


def fails(site: Site, action: str = "restore", **changed: Any) -> AgentError:
    with pytest.raises(AgentError) as failed:
        site.run(action, **changed)
    return failed.value


def results(site: Site) -> dict[str, Result]:
    return {event.step: event for event in site.events if isinstance(event, Result)}


def untouched(site: Site) -> dict[str, Any]:
    """Databases, secrets and everything that could be left over."""
    seen = {name: value for name, value in snapshot(site.base).items() if "backup/state" not in name}
    return {name: value for name, value in seen.items() if not name.endswith("-shm")}


def test_the_backup_takes_the_place_of_what_is_there(site: Site) -> None:
    site.back_up()
    before = site.tracking.read_bytes()
    answer = site.run()
    assert runs_of(site.tracking) == ["then-1", "then-2"]
    assert users_of(site.users) == ["admin", "bob"]
    assert site.running
    assert not site.guard.exists()
    assert (answer["id"], answer["was"], answer["migrated"]) == (ID, "healthy", False)
    assert answer["checks"]
    assert Path(answer["aside"], "databases", "mlflow.db").read_bytes() == before
    assert {event.verdict for event in results(site).values()} <= {CHANGED, "skipped"}
    assert not (site.data / ".restore").exists()
    assert not (site.base / "backup" / "restore.json").exists()


def test_nothing_of_the_old_database_is_left_beside_the_new_one(site: Site) -> None:
    """What a killed server left beside its database would be taken for changes of the restored one."""
    site.back_up()
    for ending in ("-wal", "-shm", "-journal"):
        site.tracking.with_name("mlflow.db" + ending).write_bytes(b"of the old one")
    answer = site.run()
    assert sorted(path.name for path in site.data.iterdir()) == ["artifacts", "basic_auth.db", "mlflow.db"]
    assert runs_of(site.tracking) == ["then-1", "then-2"]
    kept = Path(answer["aside"], "databases")
    assert {path.name for path in kept.iterdir()} >= {"mlflow.db-wal", "mlflow.db-shm", "mlflow.db-journal"}


def test_the_restored_databases_are_closed_to_others_and_in_write_ahead_mode(site: Site) -> None:
    site.back_up()
    site.run()
    assert site.tracking.stat().st_mode & 0o777 == 0o600
    assert site.users.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(site.tracking)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_password_of_today_works_afterwards(site: Site) -> None:
    site.back_up(users={"admin": "another one then"})
    assert admin(site, "admin").check(Context()) is None
    site.run()
    assert admin(site, "admin").check(Context()) is None
    assert any("username" in call for call in site.release_calls)


def test_an_administrator_whom_the_backup_does_not_know_is_made(site: Site) -> None:
    site.back_up(users={"bob": "then"})
    site.run()
    assert users_of(site.users) == ["admin", "bob"]
    assert admin(site, "admin").check(Context()) is None


def admin(site: Site, name: str) -> AdminUser:
    return AdminUser("admin", name, PASSWORD, str(site.users), str(site.release), "")


def test_secrets_come_back_and_those_that_only_the_host_has_stay(site: Site) -> None:
    site.back_up()
    answer = site.run()
    lines = site.secrets.read_text().splitlines()
    assert sorted(lines) == [
        "MLFLOW_CRYPTO_KEK_PASSPHRASE=CANARY-of-the-backup",
        "MLFLOW_FLASK_SERVER_SECRET_KEY=of-the-backup",
        "MLFLOW_OTHER=only-here",
    ]
    assert "of-now" in Path(answer["aside"], "secrets.env").read_text()
    told = repr(site.events) + json.dumps(answer) + Path(answer["aside"], "restored.json").read_text()
    assert "CANARY" not in told


@pytest.mark.parametrize(
    "line",
    ["LD_PRELOAD=/tmp/x.so", "MLFLOW_X=$(touch never)", "touch never", "MLFLOW_X=a; touch never", "MLFLOW_X=`id`"],
)
def test_of_a_backup_no_shell_is_taken(site: Site, line: str) -> None:
    site.back_up(secrets=f"{line}\n{SECRETS}")
    site.run()
    import subprocess

    script = f'set -eu; . {site.secrets}; printf "%s" "$MLFLOW_FLASK_SERVER_SECRET_KEY"; echo "${{LD_PRELOAD-}}"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, cwd=site.base)
    assert said.stdout == "of-the-backup\n"
    assert not (site.base / "never").exists()


def test_an_older_backup_is_migrated_before_anything_is_stopped(site: Site) -> None:
    site.back_up(revision=OLD, version="2.9.0")
    seen = site.run("look")
    assert seen["migrates"]
    answer = site.run()
    assert answer["migrated"]
    with closing(sqlite3.connect(site.tracking)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("bbb",)
    steps = [event.step for event in site.events if isinstance(event, Result)]
    assert steps.index("migrate") < steps.index("switch")


def test_a_newer_backup_is_refused_with_the_version_to_install(site: Site) -> None:
    site.back_up(revision="ccc", version="9.9.9")
    before = untouched(site)
    for action in ("look", "restore"):
        error = fails(site, action)
        assert error.kind == "newer"
        assert "mlflow-provision upgrade server --to 9.9.9" in error.hint
    assert untouched(site) == before
    assert site.running


def test_a_database_that_is_newer_than_its_manifest_says_is_refused_too(site: Site) -> None:
    site.back_up(revision="ccc", version="9.9.9", schema={"mlflow.db": "aaa", "basic_auth.db": "u1"})
    assert fails(site).kind == "newer"
    assert runs_of(site.tracking) == ["now-1", "now-2", "now-3"]


def test_without_a_database_of_users_those_of_now_stay(site: Site) -> None:
    site.back_up(users={})
    assert site.run("look")["keeps_users"]
    answer = site.run()
    assert answer["keeps_users"]
    assert runs_of(site.tracking) == ["then-1", "then-2"]
    assert users_of(site.users) == ["ada", "admin"]


def test_without_any_database_of_users_one_is_made(site: Site) -> None:
    site.back_up(users={})
    site.users.unlink()
    site.run()
    assert users_of(site.users) == ["admin"]


def test_a_missing_database_is_no_obstacle(site: Site) -> None:
    site.back_up()
    site.tracking.unlink()
    site.set_running(False)
    answer = site.run(safety=True)
    assert answer["safety"] == ""
    assert "missing" in answer["no_safety"]
    assert runs_of(site.tracking) == ["then-1", "then-2"]
    assert site.running


def test_a_damaged_database_is_kept_as_it_is(site: Site) -> None:
    site.back_up()
    site.tracking.write_bytes(b"no database at all, " * 1000)
    (site.base / "sick").touch()
    seen = site.run("look")
    assert "mlflow.db" in seen["now"]["problems"]
    (site.base / "sick").unlink()
    answer = site.run(safety=True)
    assert answer["safety"] == ""
    assert "mlflow.db" in answer["no_safety"]
    assert Path(answer["aside"], "databases", "mlflow.db").read_bytes().startswith(b"no database at all")
    assert runs_of(site.tracking) == ["then-1", "then-2"]


def test_what_is_there_is_backed_up_first(site: Site) -> None:
    site.back_up()
    answer = site.run(safety=True)
    assert answer["safety"]
    assert answer["no_safety"] == ""


def test_a_server_that_nobody_has_used_needs_no_safety_backup(site: Site) -> None:
    site.back_up()
    for path in (site.tracking, site.users):
        path.unlink()
    make_tracking(site.tracking, [], STARTED)
    make_users(site.users, {"admin": PASSWORD})
    assert not site.run("look")["now"]["used"]
    answer = site.run(safety=True)
    assert answer["safety"] == ""
    assert "nobody has used" in answer["no_safety"]


def test_a_place_that_takes_no_safety_backup_ends_the_restore(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow_provision.agent.backup.make as making

    def refuse(*arguments: Any) -> None:
        raise AgentError("the bucket says no", "ask for more", "store")

    site.back_up()
    monkeypatch.setattr(making, "make", refuse)
    before = untouched(site)
    error = fails(site, safety=True)
    assert "the bucket says no" in error.message
    assert "--no-safety-backup" in error.hint
    assert untouched(site) == before


def test_a_stopped_server_runs_afterwards_and_that_is_said(site: Site) -> None:
    site.back_up()
    site.set_running(False)
    assert site.run()["was"] == "stopped"
    assert site.running


@pytest.mark.parametrize("trouble", ["sick-with-then", "fails-verification"])
@pytest.mark.parametrize("was_running", [True, False])
def test_when_the_restored_one_does_not_run_the_old_one_is_back(site: Site, trouble: str, was_running: bool) -> None:
    site.back_up()
    site.set_running(was_running)
    (site.base / trouble).touch()
    site.tracking.with_name("mlflow.db-journal").write_bytes(b"")
    before = untouched(site)
    error = fails(site)
    assert "Nothing is lost: " in error.message
    assert ("runs again as before" in error.message) == was_running
    after = untouched(site)
    failed = {name for name in after if name not in before}
    assert all("before-" in name for name in failed)
    assert {name: after[name] for name in before} == before
    assert runs_of(site.tracking) == ["now-1", "now-2", "now-3"]
    assert results(site)["undo"].verdict == CHANGED
    (site.base / trouble).unlink()
    site.run()
    assert runs_of(site.tracking) == ["then-1", "then-2"]


def test_what_others_wrote_to_a_restored_server_that_failed_is_kept(site: Site) -> None:
    site.back_up()
    (site.base / "fails-verification").touch()
    error = fails(site)
    kept = Path(error.message.rpartition(" is in ")[2])
    assert runs_of(kept / "mlflow.db") == ["then-1", "then-2"]


def test_a_way_back_that_fails_is_told_and_taken_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.back_up()
    (site.base / "sick").touch()
    monkeypatch.setattr("mlflow_provision.agent.resources.background_process.BackgroundProcess.status", healthy)
    error = fails(site)
    assert "And the way back failed: the old databases are back, but" in error.message
    assert "run the same command again" in error.hint
    assert results(site)["undo"].verdict == FAILED
    (site.base / "sick").unlink()
    assert runs_of(site.tracking) == ["now-1", "now-2", "now-3"]
    site.run()
    assert runs_of(site.tracking) == ["then-1", "then-2"]


def healthy(service: object) -> dict[str, Any]:
    return {"running": True, "healthy": True, "problem": ""}


def test_a_database_that_somebody_else_has_open_is_not_replaced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_provision.agent.databases import idle

    monkeypatch.setattr(idle, "_PATIENCE", 0.2)
    site.back_up()
    with closing(sqlite3.connect(site.tracking)) as connection:
        connection.execute("SELECT count(*) FROM runs").fetchone()
        error = fails(site)
    assert f"process {os.getpid()}" in error.message
    assert site.running
    assert runs_of(site.tracking) == ["now-1", "now-2", "now-3"]


@pytest.mark.parametrize("member", ["mlflow.db.gz", "basic_auth.db.gz", "files.tar.gz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_object_is_named_and_nothing_is_touched(site: Site, member: str, damage: str) -> None:
    site.back_up()
    path = site.store / "server" / ID / member
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-10])
    else:
        path.unlink()
    before = untouched(site)
    error = fails(site)
    assert error.kind == "damaged"
    assert member in error.message
    assert untouched(site) == before
    assert site.running


def test_a_database_with_other_rows_than_the_manifest_says_is_refused(site: Site) -> None:
    site.back_up(rows={"mlflow.db": {"runs": 3}})
    error = fails(site)
    assert error.kind == "damaged"
    assert "2 rows in runs, not 3" in error.message
    assert runs_of(site.tracking) == ["now-1", "now-2", "now-3"]


def test_no_room_is_told_before_anything_is_fetched(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.back_up()
    usage = shutil.disk_usage(site.data)._replace(free=65 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    site.run()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=64 << 20))
    before = untouched(site)
    error = fails(site)
    assert error.kind == "disk"
    assert "MB are free" in error.message
    assert untouched(site) == before


def test_a_disk_that_is_full_in_the_middle_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_provision.agent.restore import fetch

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device", str(site.data))

    site.back_up()
    before = untouched(site)
    monkeypatch.setattr(fetch, "load_stream", full)
    with pytest.raises(OSError, match="No space left"):
        site.run()
    assert untouched(site) == before


def test_the_latest_is_never_what_a_restore_backed_up_before_it_began(site: Site) -> None:
    """A restore that is killed and repeated must not bring back what it was to replace."""
    site.back_up("20261120T000000Z-aaaaaa", sequence=1, runs=("older",))
    site.back_up("20261121T000000Z-bbbbbb", sequence=2)
    site.back_up("20261122T000000Z-cccccc", sequence=3, reason=f"before restoring {ID}", runs=("safety",))
    site.run()
    assert runs_of(site.tracking) == ["then-1", "then-2"]
    site.run(id="20261122T000000Z-cccccc")
    assert runs_of(site.tracking) == ["safety"]


def test_a_safety_backup_is_better_than_none(site: Site) -> None:
    site.back_up(reason="before restoring x")
    site.run()
    assert runs_of(site.tracking) == ["then-1", "then-2"]


def test_no_backup_is_an_error_that_says_where(site: Site) -> None:
    error = fails(site)
    assert str(site.store) in error.message
    site.back_up()
    error = fails(site, id="20990101T000000Z-000000")
    assert "20990101T000000Z-000000" in error.message
    assert "backup list" in error.hint


def test_a_manifest_that_was_edited_is_refused(site: Site) -> None:
    site.back_up()
    path = site.store / "server" / ID / "manifest.json"
    path.write_text(path.read_text().replace('"runs": 2', '"runs": 3'))
    assert fails(site, id=ID).kind == "damaged"
    assert fails(site).kind == "damaged"


def test_looking_changes_nothing(site: Site) -> None:
    site.back_up()
    before = untouched(site)
    seen = site.run("look")
    assert untouched(site) == before
    assert seen["backup"]["id"] == ID
    assert seen["now"]["rows"] == {"mlflow.db": {"experiments": 1, "runs": 3}, "basic_auth.db": {"users": 2}}
    assert seen["newer"] == {"runs": 3, "experiments": 0, "users": 0, "since": STARTED}
    assert seen["replaces"] == [str(site.tracking), str(site.users)]
    assert not seen["migrates"]
    assert seen["now"]["used"]
    assert seen["unfinished"] is None
    assert seen["now"]["mlflow_version"] == "3.17.2"


def test_runs_that_say_they_began_long_ago_are_newer_too(site: Site) -> None:
    site.back_up()
    with contextlib.closing(sqlite3.connect(site.tracking)) as connection:
        connection.execute("UPDATE runs SET start_time = 1, end_time = 2")
        connection.commit()
    assert site.run("look")["newer"]["runs"] == 1  # three, of which the backup has two


def test_a_backup_that_is_being_made_is_waited_for_by_the_person(site: Site) -> None:
    site.back_up()
    with held(str(site.state / "lock"), "timer", "backup"):
        error = fails(site)
    assert error.kind == "locked"
    assert "timer" in error.message
    assert site.running


def test_interrupting_while_it_fetches_leaves_nothing(site: Site) -> None:
    from mlflow_provision.agent.restore import serve as restore

    site.back_up()
    before = untouched(site)
    with pytest.raises(AgentError) as stopped:
        restore(site.request(), "ada", site.events.append, lambda: True)
    assert stopped.value.kind == "interrupted"
    assert untouched(site) == before
    assert site.running


def test_without_anything_half_way_there_is_nothing_to_undo(site: Site) -> None:
    assert fails(site, "undo").kind == "none"


def test_what_earlier_restores_replaced_goes_when_a_backup_has_it(site: Site) -> None:
    site.back_up()
    first, second, third = (Path(site.run(id=ID, safety=safety)["aside"]) for safety in (True, False, True))
    assert {path.name for path in first.parent.glob("before-*")} == {second.name, third.name}


def test_databases_on_another_disk_than_the_deployment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_provision.agent.restore import aside

    monkeypatch.setattr(aside, "can_be_renamed", lambda source, target: False)
    site.back_up()
    answer = site.run()
    kept = site.data / Path(answer["aside"]).name
    assert runs_of(kept / "mlflow.db") == ["now-1", "now-2", "now-3"]
    assert FolderStore(str(site.store / "server")).read(f"{ID}/manifest.json")


@needs_root
@pytest.mark.parametrize("trouble", ["", "fails-verification"])
def test_as_a_service_user(open_folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    """Nothing of root's appears among the data, and nothing of the service user's around them."""
    site = Site(open_folder / "server").make()
    play(site, monkeypatch.setattr)
    site.back_up(users={"bob": "then"}, revision=OLD)
    site.give_to("daemon")
    seen = site.run("look")
    assert seen["migrates"]
    if trouble:
        (site.base / trouble).touch()
        before = snapshot(site.data)
        assert "Nothing is lost" in fails(site, safety=True).message
        assert snapshot(site.data) == before
    else:
        answer = site.run(safety=True)
        assert answer["safety"]
        assert users_of(site.users) == ["admin", "bob"]
    assert {path.owner() for path in (site.data, *site.data.rglob("*"), *site.state.rglob("*"))} == {"daemon"}
    assert {path.owner() for path in (site.base / "backup").iterdir() if path != site.state} == {"root"}
    assert (site.secrets.owner(), site.secrets.group(), site.secrets.stat().st_mode & 0o777) == (
        "root",
        "daemon",
        0o640,
    )
    site.run(safety=True) if not trouble else None


@needs_root
def test_a_link_of_the_service_user_leads_nowhere(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root never follows what the server's own user may have put into its folders."""
    site = Site(open_folder / "server").make()
    play(site, monkeypatch.setattr)
    site.back_up()
    site.give_to("daemon")
    elsewhere = open_folder / "roots"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "mlflow.db").write_text("root's")
    (site.data / ".restore").symlink_to(elsewhere)
    (site.state / "lock").unlink(missing_ok=True)
    (site.state / "lock").symlink_to(elsewhere / "lock")
    with pytest.raises((AgentError, OSError)):
        site.run()
    assert [path.name for path in elsewhere.iterdir()] == ["mlflow.db"]
    assert runs_of(site.tracking) == ["now-1", "now-2", "now-3"]
