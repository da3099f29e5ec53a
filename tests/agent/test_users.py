"""The verb `users` against MLflow's API as new and old versions have it: who may do what, and who is kept in or out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.protocol import AgentError, Event, encode
from mlflow_provision.agent.resources import to_json
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.users import serve
from tests.agent.fake_systemd import FakeSystemd
from tests.agent.fake_users import ADMIN, PASSWORD, FakeUsers, serve_users
from tests.agent.test_admin_user import scrypt

NEW = "another good password CANARY"
BOB = "the password of bob CANARY"


@pytest.fixture
def fake() -> Iterator[FakeUsers]:
    with serve_users(FakeUsers()) as server:
        yield server


class Asked:
    """Requests to the agent, and every event that came of them."""

    def __init__(self, fake: FakeUsers, systemd: FakeSystemd, folder: Path) -> None:
        self.fake, self.systemd, self.folder = fake, systemd, folder
        self.events: list[Event] = []
        self.version, self.workers, self.password = "3.17.2", 1, PASSWORD
        self.stopping: Callable[[], bool] = lambda: False

    def __call__(self, action: str, **data: Any) -> dict[str, Any]:
        site = self.folder / "venv" / "lib" / "python3.11" / "site-packages"
        (site / f"mlflow-{self.version}.dist-info").mkdir(parents=True, exist_ok=True)
        database = self.folder / "basic_auth.db"
        admin = AdminUser("admin", ADMIN, "", str(database), str(self.folder / "venv"), str(self.folder / "auth.ini"))
        server = {
            "url": self.fake.url,
            "username": ADMIN,
            "password": self.password,
            "workers": self.workers,
            "service": to_json(self.systemd.resource),
            "admin": to_json(admin),
            "venv": str(self.folder / "venv"),
            "database": str(database),
            "owner": "",
        }
        return serve({"action": action, "server": server, **data}, "ana@box", self.events.append, self.stopping)

    @property
    def restarts(self) -> int:
        return sum("start" in call and "re" not in call for call in self.systemd.calls)

    def refused(self, action: str, **data: Any) -> AgentError:
        with pytest.raises(AgentError) as caught:
            self(action, **data)
        return caught.value


@pytest.fixture
def asked(fake: FakeUsers, systemd: FakeSystemd, tmp_path: Path) -> Iterator[Asked]:
    asked = Asked(fake, systemd, tmp_path)
    systemd.on("start", "true; become ActiveState active; become SubState running; touch healthy")
    yield asked
    told = "".join(encode(event) for event in asked.events)
    assert "CANARY" not in told


@pytest.fixture(params=["3.17.2", "3.12.0", "3.9.0"])
def any_version(asked: Asked, fake: FakeUsers, request: pytest.FixtureRequest) -> Asked:
    """Servers of three ages."""
    asked.version = request.param
    fake.old, fake.oldest = asked.version != "3.17.2", asked.version == "3.9.0"
    with closing(sqlite3.connect(asked.folder / "basic_auth.db")) as database, database:
        database.execute("CREATE TABLE users (id INTEGER, username TEXT, password_hash TEXT)")
        database.executemany("INSERT INTO users VALUES (1, ?, '')", [("admin",), ("bob",)])
    return asked


def names(asked: Asked) -> list[str]:
    return [user["username"] for user in asked("list")["users"]]


class TestAccounts:
    def test_everybody_is_listed(self, any_version: Asked, fake: FakeUsers) -> None:
        fake.add("bob", experiment="7 EDIT")
        admin, bob = any_version("list")["users"]
        assert (admin["username"], admin["admin"], bob["username"], bob["admin"]) == ("admin", True, "bob", False)
        (grant,) = bob["grants"]
        assert (grant["type"], grant["id"], grant["permission"], grant["role"]) == ("experiment", "7", "EDIT", "")

    def test_a_user_is_added_and_gets_in(self, asked: Asked, fake: FakeUsers) -> None:
        user = asked("add", username="bob", password=BOB, admin=False)["user"]
        assert (user["username"], user["admin"]) == ("bob", False)
        assert fake.accounts["bob"].password == BOB

    def test_an_administrator_is_added_whole_or_not_at_all(self, asked: Asked, fake: FakeUsers) -> None:
        assert asked("add", username="bob", password=BOB, admin=True)["user"]["admin"]
        fake.faults["users/update-admin"] = lambda: (500, "broken")
        assert "the server failed" in asked.refused("add", username="eve", password=BOB, admin=True).message
        assert "eve" not in fake.accounts

    def test_one_who_is_there_is_not_changed(self, asked: Asked, fake: FakeUsers) -> None:
        fake.add("bob", "before")
        error = asked.refused("add", username="bob", password=BOB, admin=True)
        assert error.message == "there is a user bob already" and "user password bob NAME" in error.hint
        assert (fake.accounts["bob"].password, fake.accounts["bob"].admin) == ("before", False)

    def test_a_user_is_removed(self, any_version: Asked, fake: FakeUsers) -> None:
        fake.add("bob")
        assert any_version("remove", username="bob")["user"]["username"] == "bob"
        assert list(fake.accounts) == ["admin"]

    @pytest.mark.parametrize(("version", "restarts"), [("3.11.1", 0), ("3.12.0", 1)])
    def test_an_old_version_cannot_remove_who_has_permissions(
        self, asked: Asked, fake: FakeUsers, version: str, restarts: int
    ) -> None:
        asked.version, fake.old = version, True
        fake.add("bob", experiment="7 EDIT")
        said = "(sqlite3.IntegrityError) FOREIGN KEY constraint failed\n[SQL: DELETE FROM users]"
        fake.faults["users/delete"] = lambda: (400, json.dumps({"error_code": "BAD_REQUEST", "message": said}))
        python = asked.folder / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\ncat > {asked.folder}/written\n")
        python.chmod(0o755)
        asked("remove", username="bob")
        assert json.loads((asked.folder / "written").read_text())["username"] == "bob"
        assert asked.restarts == restarts  # a remembered password would work for a minute more
        asked.version, fake.old = "3.17.2", False
        (asked.folder / f"venv/lib/python3.11/site-packages/mlflow-{version}.dist-info").rmdir()
        assert asked.refused("remove", username="bob").message.endswith("FOREIGN KEY constraint failed")

    def test_who_is_not_there_is_told_with_who_was_meant(self, asked: Asked, fake: FakeUsers) -> None:
        fake.add("roberta")
        error = asked.refused("remove", username="robertta")
        assert error.message == "there is no user robertta: did you mean roberta?" and "user list NAME" in error.hint

    @pytest.mark.parametrize(("action", "data"), [("remove", {}), ("admin", {"admin": False})])
    def test_the_administrator_of_the_deployment_stays(
        self, asked: Asked, fake: FakeUsers, action: str, data: dict[str, Any]
    ) -> None:
        fake.add("bob", admin=True)
        error = asked.refused(action, username="admin", **data)
        assert "is the administrator that this deployment is run with" in error.message
        assert "--admin-username" in error.hint and fake.accounts["admin"].admin

    @pytest.mark.parametrize(("action", "data"), [("remove", {}), ("admin", {"admin": False})])
    def test_the_last_administrator_stays(
        self, asked: Asked, fake: FakeUsers, action: str, data: dict[str, Any]
    ) -> None:
        # Ours was made an ordinary user by somebody else, who is the only one now.
        fake.add("bob", admin=True)
        fake.accounts["admin"].admin = False
        error = asked.refused(action, username="bob", **data)
        assert "bob is the only administrator" in error.message and fake.accounts["bob"].admin

    def test_an_administrator_is_made_and_unmade(self, asked: Asked, fake: FakeUsers) -> None:
        fake.add("bob")
        assert asked("admin", username="bob", admin=True)["changed"] and fake.accounts["bob"].admin
        assert not asked("admin", username="bob", admin=True)["changed"]
        assert asked("admin", username="bob", admin=False)["changed"] and not fake.accounts["bob"].admin


class TestSeveralWorkers:
    @pytest.mark.parametrize(("workers", "version", "restarts"), [(1, "3.17.2", 0), (4, "3.17.2", 1), (4, "3.11.1", 0)])
    def test_all_of_them_forget(self, asked: Asked, fake: FakeUsers, workers: int, version: str, restarts: int) -> None:
        asked.workers, asked.version, fake.old = workers, version, version < "3.13"
        fake.add("bob")
        answer = asked("remove", username="bob")
        assert (asked.restarts, answer["restarted"], answer["lingers"]) == (restarts, restarts == 1, False)

    def test_unless_it_is_not_wanted(self, asked: Asked, fake: FakeUsers) -> None:
        asked.workers = 4
        fake.add("bob")
        answer = asked("remove", username="bob", restart=False)
        assert (asked.restarts, answer["lingers"]) == (0, True)


class TestPasswords:
    def test_of_a_user(self, any_version: Asked, fake: FakeUsers) -> None:
        fake.add("bob")
        any_version("password", username="bob", password=BOB)
        assert fake.accounts["bob"].password == BOB

    def test_of_the_administrator(self, any_version: Asked, fake: FakeUsers) -> None:
        assert any_version("password", username=ADMIN, password=NEW)["changed"]
        assert fake.accounts[ADMIN].password == NEW

    def test_one_that_was_changed_before_we_were_killed_is_proved(self, asked: Asked, fake: FakeUsers) -> None:
        fake.accounts[ADMIN].password = NEW
        assert not asked("password", username=ADMIN, password=NEW)["changed"]

    def test_one_that_an_earlier_run_left_is_found(self, asked: Asked, fake: FakeUsers) -> None:
        fake.accounts[ADMIN].password = "of an earlier run CANARY"
        assert asked("password", username=ADMIN, password=NEW, others=["x" * 12, "of an earlier run CANARY"])["changed"]
        assert fake.accounts[ADMIN].password == NEW

    def test_a_lost_one_names_the_way_out(self, asked: Asked, fake: FakeUsers) -> None:
        asked.password = "not the one CANARY"
        error = asked.refused("password", username=ADMIN, password=NEW)
        assert error.kind == "password" and "user password admin NAME --reset" in error.hint
        assert "CANARY" not in error.message + error.hint and fake.accounts[ADMIN].password == PASSWORD
        assert "user password admin NAME --reset" in asked.refused("list").hint

    def test_one_that_does_not_get_in_is_taken_back(self, asked: Asked, fake: FakeUsers) -> None:
        def forget() -> None:
            fake.accounts[ADMIN].password = "something else"
            fake.accounts[ADMIN].also = {PASSWORD}

        fake.after["users/update-password"] = forget
        error = asked.refused("password", username=ADMIN, password=NEW)
        assert "does not let admin in with the new password" in error.message
        assert "The old password works as before." in error.message

    def test_while_another_worker_takes_the_old_one_it_is_not_proved(self, asked: Asked, fake: FakeUsers) -> None:
        fake.remembers = True
        error = asked.refused("password", username=ADMIN, password=NEW)
        assert "still lets admin in with the old password" in error.message

    def test_after_a_restart_it_is(self, asked: Asked, fake: FakeUsers) -> None:
        asked.workers, fake.remembers = 4, True
        asked.systemd.page.answer = lambda: fake.restarted() or 200  # type: ignore[func-returns-value]
        assert asked("password", username=ADMIN, password=NEW)["restarted"] and asked.restarts == 1

    def test_a_restart_that_fails_leaves_no_dead_server(self, asked: Asked, fake: FakeUsers) -> None:
        """It ran before: systemd shows nothing of that any more, and the way back starts it all the same."""
        asked.workers = 4
        asked.systemd.on("stop", "if [ -e once ]; then rm -f fail-start; else touch once fail-start; fi")
        error = asked.refused("password", username=ADMIN, password=NEW)
        assert "The old password works as before." in error.message and fake.accounts[ADMIN].password == PASSWORD
        assert asked.systemd.state["ActiveState"] == "active"

    def test_a_server_that_does_not_answer(self, asked: Asked, fake: FakeUsers) -> None:
        port, fake.port = fake.port, 1
        error = asked.refused("list")
        fake.port = port
        assert "does not answer" in error.message and "mlflow-provision start NAME" in error.hint


class TestReset:
    """MLflow's own code is played by a program that writes the table."""

    @pytest.fixture
    def lost(self, asked: Asked) -> Asked:
        asked.password = ""
        python = asked.folder / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        written = asked.folder / "written"
        python.write_text(f"#!/bin/sh\ncat > {written}\n")
        python.chmod(0o755)
        database = asked.folder / "basic_auth.db"
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE users (username TEXT, password_hash TEXT, is_admin BOOLEAN)")
            connection.execute("INSERT INTO users VALUES (?, ?, 0)", (ADMIN, scrypt(NEW)))
        return asked

    def test_it_needs_no_old_one_and_restarts(self, lost: Asked, fake: FakeUsers) -> None:
        fake.accounts[ADMIN].password = NEW
        assert lost("reset", password=NEW)["restarted"] and lost.restarts == 1
        request = json.loads((lost.folder / "written").read_text())
        assert (request["username"], request["password"]) == (ADMIN, NEW)

    def test_a_stopped_server_stays_stopped(self, lost: Asked) -> None:
        lost.systemd.become(ActiveState="inactive")
        assert not lost("reset", password=NEW)["restarted"] and lost.restarts == 0

    def test_it_is_proved(self, lost: Asked) -> None:
        assert "does not let admin in" in lost.refused("reset", password=NEW).message
        lost.systemd.become(ActiveState="inactive")
        assert "did not reach the database" in lost.refused("reset", password=PASSWORD).message


EXPERIMENT = {"type": "experiment", "name": "churn"}


class TestPermissions:
    def test_given_changed_and_taken_back(self, any_version: Asked, fake: FakeUsers) -> None:
        bob = fake.add("bob")
        given = any_version("grant", username="bob", resource=EXPERIMENT, permission="EDIT")
        assert (given["before"], given["permission"], given["resource"]["id"]) == ("", "EDIT", "7")
        assert bob.grants == {("experiment", "7"): "EDIT"}
        more = any_version("grant", username="bob", resource=EXPERIMENT, permission="MANAGE")
        assert more["before"] == "EDIT" and bob.grants == {("experiment", "7"): "MANAGE"}
        again = any_version("grant", username="bob", resource=EXPERIMENT, permission="MANAGE")
        assert again["before"] == again["permission"] == "MANAGE"
        taken = any_version("revoke", username="bob", resource={"type": "experiment", "name": "7"})
        assert taken["before"] == "MANAGE" and bob.grants == {}
        assert any_version("revoke", username="bob", resource=EXPERIMENT)["before"] == ""

    def test_changed_in_one_step(self, asked: Asked, fake: FakeUsers) -> None:
        fake.add("bob", experiment="7 EDIT")
        asked("grant", username="bob", resource=EXPERIMENT, permission="READ")
        assert "POST users/permissions/revoke" not in fake.seen and "PATCH roles/permissions/update" in fake.seen

    def test_to_keep_out_has_another_name_in_old_versions(self, asked: Asked, fake: FakeUsers) -> None:
        bob = fake.add("bob")
        asked("grant", username="bob", resource=EXPERIMENT, permission="DENY")
        assert bob.grants["experiment", "7"] == "DENY"
        asked.version, fake.old = "3.11.1", True
        (asked.folder / "venv/lib/python3.11/site-packages/mlflow-3.17.2.dist-info").rmdir()
        asked("grant", username="bob", resource=EXPERIMENT, permission="DENY")
        assert bob.grants["experiment", "7"] == "NO_PERMISSIONS"

    @pytest.mark.parametrize("kind", ["experiment", "registered_model", "prompt"])
    def test_what_is_not_there_cannot_be_given(self, asked: Asked, fake: FakeUsers, kind: str) -> None:
        bob = fake.add("bob")
        error = asked.refused("grant", username="bob", resource={"type": kind, "name": "nosuch"}, permission="EDIT")
        assert error.message.startswith("there is no ") and "nosuch" in error.message and not bob.grants

    def test_of_what_is_gone_it_can_be_taken_back(self, asked: Asked, fake: FakeUsers) -> None:
        bob = fake.add("bob", registered_model="gone EDIT")
        asked("revoke", username="bob", resource={"type": "registered_model", "name": "gone"})
        assert not bob.grants

    def test_all_at_once(self, asked: Asked, fake: FakeUsers) -> None:
        bob = fake.add("bob")
        asked("grant", username="bob", resource={"type": "experiment", "name": "*"}, permission="EDIT")
        assert bob.grants == {("experiment", "*"): "EDIT"}
        asked.version, fake.old = "3.12.0", True
        (asked.folder / "venv/lib/python3.11/site-packages/mlflow-3.17.2.dist-info").rmdir()
        error = asked.refused("grant", username="bob", resource={"type": "experiment", "name": "*"}, permission="READ")
        assert "cannot grant all experiments at once" in error.message

    def test_what_an_old_version_has_no_permissions_for(self, asked: Asked, fake: FakeUsers) -> None:
        asked.version, fake.old = "3.12.0", True
        fake.add("bob")
        error = asked.refused("grant", username="bob", resource={"type": "mcp_server", "name": "x"}, permission="READ")
        assert error.message == "this MLflow knows no permissions for a mcp server"

    def test_shown_with_names(self, asked: Asked, fake: FakeUsers) -> None:
        fake.add("bob", experiment="7 EDIT", registered_model="fraud READ")
        (bob,) = asked("permissions", username="bob", resource=None)["users"]
        assert [grant["name"] for grant in bob["grants"]] == ["churn", "fraud"]

    def test_of_an_experiment_that_is_gone(self, asked: Asked, fake: FakeUsers) -> None:
        fake.add("bob", experiment="99 EDIT")
        (bob,) = asked("permissions", username="bob", resource=None)["users"]
        assert bob["grants"][0]["name"] == "99, which is gone"

    def test_who_may_do_what_with_one_thing(self, asked: Asked, fake: FakeUsers) -> None:
        fake.add("bob", experiment="7 EDIT")
        fake.add("eve")
        found = asked("permissions", username="", resource=EXPERIMENT)
        assert found["resource"] == {"type": "experiment", "id": "7", "name": "churn"}
        assert {one["username"]: (one["permission"], one["given"]) for one in found["users"]} == {
            "admin": ("MANAGE", ""),
            "bob": ("EDIT", "EDIT"),
            "eve": ("READ", ""),
        }


def test_an_unknown_action(asked: Asked) -> None:
    assert "cannot 'dance' users" in asked.refused("dance").message
