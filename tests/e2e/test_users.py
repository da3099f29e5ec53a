"""Users as they come and go, with what they may do at the real server; and administrators who forget their password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.e2e.logins import DONE, FORBIDDEN, UNKNOWN, Login, everywhere, secrecy
from tests.e2e.operator import Operator, on
from tests.e2e.prepared import Prepared
from tests.e2e.real_client import RealClient, at_server
from tests.e2e.served import NAME
from tests.lab import LabHost

OLD = "old"  # another deployment on the same host, before there were roles and a list of all users
OLD_RELEASE = "3.10.0"
LOG_A_RUN = """
    with mlflow.start_run(experiment_id=given["experiment"]) as run:
        mlflow.log_metric("loss", 0.25)
        mlflow.log_text("of ana", "notes/note.txt")
    found = client.get_run(run.info.run_id)
    made["run"], made["loss"] = run.info.run_id, found.data.metrics["loss"]
    made["note"] = mlflow.artifacts.load_text(found.info.artifact_uri + "/notes/note.txt")
"""
VARIABLE = "MLFLOW_PROVISION_USER_PASSWORD"


@dataclass
class Office:
    """A host with servers, and whoever looks after their users."""

    host: LabHost
    operator: Operator

    def admin(self, name: str = NAME) -> Login:
        """The administrator of a deployment, with the password that is known here, through a tunnel."""
        port = self.operator.json("tunnel", name, "--background")["tunnel"]["port"]
        return Login(port, "admin", kept_password(self.operator, name))

    def joins(self, username: str, *options: str, name: str = NAME) -> Login:
        """Somebody new, with the password that was generated for them."""
        told = self.operator.json("user", "add", username, name, *options)["user"]
        return Login(self.admin(name).port, username, told["password"])

    def client_of(self, who: Login, name: str) -> RealClient:
        """The real client on the host, as somebody."""
        client = at_server(self.operator, self.host, name)
        login = {"MLFLOW_TRACKING_USERNAME": who.username, "MLFLOW_TRACKING_PASSWORD": who.password}
        return replace(client, environment={**client.environment, **login})

    def user(self, username: str, name: str = NAME) -> dict[str, Any]:
        """As `user list` has them; {} where they are not in it."""
        users = self.operator.json("user", "list", name)["users"]
        return next((dict(user) for user in users if user["username"] == username), {})


def kept_password(operator: Operator, name: str = NAME) -> str:
    """The administrator's in the secrets file."""
    found = re.search('^admin_password = "(.+)"$', (operator.config / f"{name}.secrets.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def lose_password(operator: Operator) -> None:
    """What the secrets file says is wrong from now on."""
    path = operator.config / f"{NAME}.secrets.toml"
    path.write_text(path.read_text().replace(kept_password(operator), "not-the-password-any-more"))


@pytest.fixture(scope="module")
def office(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        yield Office(served.host, served.operator)
        served.operator.run("tunnel", "--stop", "--all")


@pytest.fixture(scope="module")
def of_old(office: Office) -> str:
    """A server of an older MLflow."""
    older = ("--mlflow-version", OLD_RELEASE, "--port", "5100")
    office.operator.run("setup", on(office.host), "--name", OLD, *older, "--yes")
    return OLD


@pytest.mark.parametrize("name", [NAME, OLD])
def test_from_the_first_day_to_the_last(office: Office, request: pytest.FixtureRequest, name: str) -> None:
    if name == OLD:
        request.getfixturevalue("of_old")
    operator, admin = office.operator, office.admin(name)
    churn = admin.makes("churn")
    admin.gets("POST", "/registered-models/create", name="forecast")
    ana = office.joins("ana", name=name)
    on_churn = ("user", "permission", "ana", name, "--experiment", "churn")

    assert ana.reads(churn) == DONE
    assert ana.writes(churn) == FORBIDDEN
    assert operator.json(*on_churn, "--grant", "EDIT")["permission"]["before"] == ""
    kept = office.client_of(ana, name).run(LOG_A_RUN, experiment=churn)
    assert (kept["loss"], kept["note"]) == (0.25, "of ana")
    assert operator.json(*on_churn)["permissions"]["users"][0]["permission"] == "EDIT"
    operator.run(*on_churn, "--grant", "DENY")
    assert (ana.reads(churn), ana.writes(churn)) == (FORBIDDEN, FORBIDDEN)
    operator.run(*on_churn, "--revoke")
    assert (ana.reads(churn), ana.writes(churn)) == (DONE, FORBIDDEN)
    assert operator.json(*on_churn, "--revoke")["permission"]["before"] == ""

    described = ("PATCH", "/registered-models/update")
    assert ana.asks(*described, name="forecast", description="hers")[0] == FORBIDDEN
    operator.run("user", "permission", "ana", name, "--model", "forecast", "--grant", "EDIT")
    assert ana.asks(*described, name="forecast", description="hers")[0] == DONE

    own = ana.makes("of ana")
    assert ana.writes(own) == DONE
    grants = {(grant["type"], grant["permission"]) for grant in office.user("ana", name)["grants"]}
    assert grants == {("experiment", "MANAGE"), ("registered_model", "EDIT")}

    assert ana.asks("GET", "/users/get", username="admin")[0] == FORBIDDEN
    operator.run("user", "admin", "ana", name)
    assert (ana.asks("GET", "/users/get", username="admin")[0], ana.writes(churn)) == (DONE, DONE)
    operator.run("user", "admin", "ana", name, "--off")
    assert (ana.asks("GET", "/users/get", username="admin")[0], ana.writes(churn)) == (FORBIDDEN, FORBIDDEN)

    new = operator.json("user", "password", "ana", name)["user"]["password"]
    assert (ana.logs_in(), ana.with_password(new).logs_in()) == (UNKNOWN, DONE)
    operator.refused("user", "remove", "ana", name, code=2)  # nobody can be asked
    operator.run("user", "remove", "ana", name, "--yes")
    assert ana.with_password(new).logs_in() == UNKNOWN
    assert office.user("ana", name) == {}
    assert admin.asks("GET", "/runs/get", run_id=kept["run"])[0] == DONE
    assert admin.reads(own) == DONE
    assert office.joins("ana", name=name).writes(own) == FORBIDDEN  # another one of that name is another one


def test_the_administrators_password_is_lost(office: Office) -> None:
    operator, before = office.operator, office.admin()
    eva = office.joins("eva")
    lose_password(operator)
    assert "user password admin prod --reset" in operator.refused("user", "list", NAME)
    operator.run("user", "password", "admin", NAME, "--reset")
    after = office.admin()
    assert (before.logs_in(), after.logs_in(), eva.logs_in()) == (UNKNOWN, DONE, DONE)
    assert operator.json("verify", NAME, "--no-kill")["ok"] is True
    assert operator.json("plan", NAME)["changes"] == 0


def test_lost_while_the_server_is_stopped(office: Office) -> None:
    operator, before = office.operator, office.admin()
    operator.run("stop", NAME)
    lose_password(operator)
    operator.run("user", "password", "admin", NAME, "--reset")
    assert operator.json("status", NAME, code=1)["status"]["healthy"] is False
    operator.run("start", NAME)
    assert (before.logs_in(), office.admin().logs_in()) == (UNKNOWN, DONE)


def test_somebody_is_left_who_can_let_others_in(office: Office) -> None:
    operator, admin = office.operator, office.admin()
    bob = office.joins("bob", "--admin")
    operator.refused("user", "remove", "admin", NAME, "--yes")
    operator.refused("user", "admin", "admin", NAME, "--off")
    assert office.user("admin")["admin"] is True
    bob.gets("PATCH", "/users/update-admin", username="admin", is_admin=False)  # MLflow itself does not mind
    assert office.user("admin")["admin"] is False
    assert "user password admin prod --reset" in operator.refused("user", "add", "nobody", NAME)
    operator.run("user", "password", "admin", NAME, "--reset")
    assert office.user("admin")["admin"] is True
    assert admin.logs_in() == UNKNOWN


def test_no_password_shows(office: Office) -> None:
    """But the generated ones of users, once; the administrator's never."""
    operator, host = office.operator, office.host
    with secrecy(host, operator) as secret:
        added = operator.json("user", "add", "finn", NAME, "--debug")["user"]["password"]
        changed = operator.json("user", "password", "finn", NAME, "--debug")["user"]["password"]
        for password in (added, changed):
            assert "".join(operator.shown).count(password) == 1
        operator.shown.clear()
        operator.variables[VARIABLE] = given = "given-by-the-environment-7f3a91"
        operator.json("user", "add", "gina", NAME, "--debug")
        operator.run("user", "password", "gina", NAME, "--debug")
        del operator.variables[VARIABLE]
        operator.run("user", "add", "finn", NAME, "--debug", code=1)
        operator.run("user", "password", "admin", NAME, "--reset", "--debug")
        operator.run("user", "remove", "finn", NAME, "--yes", "--debug")
    secret.secrets = [("finn", added), ("finn", changed), ("gina", given), ("admin", kept_password(operator))]
    assert secret.found() == []
    assert Login(office.admin().port, "gina", given).logs_in() == DONE


def test_what_everybody_may_do(office: Office) -> None:
    operator, experiment = office.operator, office.admin().makes("of the admin")
    carl = office.joins("carl")
    assert carl.reads(experiment) == DONE
    operator.run("user", "permission", NAME, "--default", "NO_PERMISSIONS", "--yes")
    assert carl.reads(experiment) == FORBIDDEN
    operator.run("user", "permission", "carl", NAME, "--experiment", "*", "--grant", "EDIT")
    assert (carl.reads(experiment), carl.writes(experiment)) == (DONE, DONE)
    found = operator.json("user", "permission", NAME, "--experiment", experiment)["permissions"]["users"]
    assert {one["username"]: one["permission"] for one in found}["carl"] == "EDIT"


def test_all_workers_hear_of_it(office: Office) -> None:
    """Each remembers for a minute which passwords were right."""
    operator = office.operator
    operator.run("setup", NAME, "--workers", "3", "--yes")
    experiment = office.admin().makes("of three workers")
    dora = office.joins("dora")
    assert dora.everywhere() == {DONE}
    change = ("user", "permission", "dora", NAME, "--experiment", experiment)
    operator.run(*change, "--grant", "EDIT")
    assert everywhere(lambda: dora.writes(experiment)) == {DONE}
    operator.run(*change, "--revoke")
    assert everywhere(lambda: dora.writes(experiment)) == {FORBIDDEN}
    new = dora.with_password(operator.json("user", "password", "dora", NAME)["user"]["password"])
    assert (dora.everywhere(), new.everywhere()) == ({UNKNOWN}, {DONE})
    operator.run("user", "remove", "dora", NAME, "--yes")
    assert new.everywhere() == {UNKNOWN}
