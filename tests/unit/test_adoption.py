"""What becomes of an old server's settings, what stands in the way of taking it over, and what a plan of it is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mlflow_provision import adoption
from mlflow_provision.agent.resources import to_json
from mlflow_provision.agent.resources.adopted_data import AdoptedData
from mlflow_provision.agent.resources.file import File
from mlflow_provision.blueprint import blueprint
from mlflow_provision.blueprint.adoption import adopting
from mlflow_provision.config import Deployment, Secrets, validate
from tests.unit.hosts import facts as host_facts

PLAIN = Deployment("server", "ubuntu@mlflow.example.org")
PASSWORD = "CANARY-correct-horse"
OLD = {
    "unit": "mlflow-server.service",
    "unit_file": "/etc/systemd/system/mlflow-server.service",
    "tree": "/home/ubuntu/mlflow-server",
    "folder": "/home/ubuntu/mlflow-server",
    "user": "ubuntu",
    "running": True,
    "pid": 77,
    "venv": "/home/ubuntu/mlflow-server/venv",
    "version": "3.12.0",
    "port": 5050,
    "listen": "0.0.0.0",
    "allowed_hosts": ["mlflow.example.com:*", "localhost:*", "mlflow.example.com", "10.0.0.7:5050", "*.internal"],
    "store": "sqlite",
    "database": "/home/ubuntu/mlflow-server/mlflow.db",
    "auth": {
        "on": True,
        "config": "/home/ubuntu/mlflow-server/.mlflow_auth_config",
        "database": "/home/ubuntu/mlflow-server/basic_auth.db",
        "admin_username": "boss",
        "default_permission": "EDIT",
    },
    "proxied": True,
    "artifacts": "s3://bucket/ml",
    "served": "s3://bucket/ml",
    "special": [],
    "aws": {"profile": "ml", "region": "eu-central-1", "endpoint_url": "", "credentials": "keys", "problem": ""},
}
LOCAL = {**OLD, "artifacts": "/home/ubuntu/mlflow-server/mlartifacts", "aws": {}}
DETAILS: dict[str, Any] = {
    "counts": {"experiments": 2, "runs": 1, "models": 0, "users": 3},
    "artifact_files": 0,
    "artifact_bytes": 0,
    "database_bytes": 1 << 20,
    "administrator": {"username": "boss", "password": PASSWORD, "problem": ""},
    "keys": {},
}


def facts(old: dict[str, Any] | None = OLD, **other: Any) -> dict[str, Any]:
    return host_facts(PLAIN, **{"old_server": old, "adoption": "", **other})


def details(**changed: Any) -> dict[str, Any]:
    return {**DETAILS, **changed}


def administrator(password: str = "", problem: str = "", username: str = "boss") -> dict[str, str]:
    return {"username": username, "password": password, "problem": problem}


def test_settings_are_keys_of_the_deployment_file() -> None:
    found = adoption.settings(OLD)
    assert found == {
        "mlflow.version": "3.17.2",
        "mlflow.port": 5050,
        "mlflow.listen": "0.0.0.0",
        "mlflow.allowed_hosts": ("mlflow.example.com", "10.0.0.7"),
        "auth.admin_username": "boss",
        "auth.default_permission": "EDIT",
        "artifacts.destination": "s3://bucket/ml",
        "artifacts.region": "eu-central-1",
        "artifacts.endpoint_url": "",
        "artifacts.credentials": "keys",
        "artifacts.profile": "",
    }
    assert validate(adoption.with_settings(PLAIN, OLD)) == []


def test_a_folder_becomes_ours_and_no_login_leaves_the_defaults() -> None:
    made = adoption.with_settings(PLAIN, {**LOCAL, "auth": {"on": False}, "listen": "localhost"})
    assert made.artifacts == PLAIN.artifacts
    assert made.auth == PLAIN.auth
    assert made.mlflow.listen == "127.0.0.1"
    assert validate(made) == []


def test_a_newer_version_stays_and_an_older_one_moves_up() -> None:
    assert adoption.settings({**OLD, "version": "3.20.1"})["mlflow.version"] == "3.20.1"
    assert adoption.settings({**OLD, "version": "2.22.0"})["mlflow.version"] == "3.17.2"
    assert adoption.settings({**OLD, "version": ""})["mlflow.version"] == "3.17.2"


def test_what_somebody_asked_for_wins() -> None:
    asked = replace(PLAIN, mlflow=replace(PLAIN.mlflow, port=6000), auth=replace(PLAIN.auth, admin_username="root"))
    made = adoption.with_settings(asked, OLD)
    assert (made.mlflow.port, made.auth.admin_username, made.mlflow.listen) == (6000, "root", "0.0.0.0")
    role = replace(PLAIN, artifacts=replace(PLAIN.artifacts, destination="s3://bucket/ml", credentials="instance-role"))
    assert adoption.with_settings(role, OLD).artifacts.credentials == "instance-role"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"old_server": None}, "there is no old server to adopt on this host"),
        ({"old_server": None, "unit": "ours"}, "mlflow-server.service is a server that mlflow-provision made"),
        ({"applied": {"name": "server"}}, "the deployment server is there already"),
        ({"old_server": {**OLD, "database": "", "store": "postgresql"}}, "keeps its runs in postgresql"),
        ({"old_server": {**OLD, "database": "", "store": ""}}, "keeps its runs in files (./mlruns)"),
        ({"old_server": {**OLD, "auth": {**OLD["auth"], "database": ""}}}, "keeps its users in another database"),  # type: ignore[dict-item]
        ({"old_server": {**OLD, "special": ["--static-prefix /ml"]}}, "was started with --static-prefix /ml"),
        ({"old_server": {**OLD, "unit": ""}}, "runs (process 77) without a unit of systemd"),
    ],
)
def test_what_cannot_be_adopted(changed: dict[str, Any], said: str) -> None:
    found = list(adoption.impossible(PLAIN, {**facts(), **changed}))
    assert len(found) == 1
    assert said in found[0].message
    assert found[0].hint


def test_an_interrupted_adoption_goes_on() -> None:
    assert list(adoption.impossible(PLAIN, facts(applied={"name": "server"}, adoption="starting"))) == []
    assert list(adoption.impossible(PLAIN, facts())) == []


def given(**settings: Any) -> Deployment:
    made = adoption.with_settings(PLAIN, OLD)
    return replace(made, **{section: replace(getattr(made, section), **keys) for section, keys in settings.items()})


@pytest.mark.parametrize(
    ("deployment", "old", "found", "said"),
    [
        (given(), OLD, details(), ""),
        (given(mlflow={"version": "3.11.0"}), OLD, details(), "belong to MLflow 3.12.0; 3.11.0 is older"),
        (given(artifacts={"destination": "s3://x"}), OLD, details(), "and adoption leaves them there"),
        (given(), LOCAL, details(artifact_files=4), "has 4 artifact files on its disk"),
        (given(), {**OLD, "artifacts": "gs://b"}, details(), "the old server keeps its artifacts in gs://b"),
        (given(), OLD, details(administrator=administrator("", "not known")), "not known"),
        (given(), OLD, details(administrator=administrator(PASSWORD, "wrong one")), "wrong one"),
        (given(), OLD, details(administrator=administrator("short", "wrong one")), ""),
        (given(), OLD, details(administrator=administrator(PASSWORD, username="root")), "old server is root"),
        (given(), OLD, details(artifact_bytes=30 << 30), "too little for a copy of the data"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way(deployment: Deployment, old: dict[str, Any], found: dict[str, Any], said: str) -> None:
    problems = list(adoption.problems(deployment, facts(old), found))
    assert [said in problem.message for problem in problems] == ([True] if said else [])
    assert all(problem.hint for problem in problems)


def test_access_that_cannot_be_taken_over() -> None:
    old = {**OLD, "aws": {**OLD["aws"], "credentials": "", "problem": "its keys expire"}}  # type: ignore[dict-item]
    made = adoption.with_settings(PLAIN, old)
    assert "its keys expire" in next(iter(adoption.no_credentials(made, old))).message
    role = replace(made, artifacts=replace(made.artifacts, credentials="instance-role"))
    assert list(adoption.no_credentials(role, old)) == []


def test_whose_password_it_is() -> None:
    kept, notes = adoption.with_old_password(PLAIN, Secrets(), details())
    assert (kept.admin_password, notes) == (PASSWORD, [])
    weak = details(administrator=administrator("password1234"))
    other, notes = adoption.with_old_password(PLAIN, Secrets(), weak)
    assert other.admin_password not in ("", "password1234")
    assert len(notes) == 1
    assert "password1234" not in notes[0]
    chosen, _ = adoption.with_old_password(PLAIN, Secrets(admin_password="the-chosen-one-here"), weak)
    assert chosen.admin_password == "the-chosen-one-here"
    first, notes = adoption.with_old_password(PLAIN, Secrets(), details(administrator=administrator(username="")))
    assert len(first.admin_password) > 12
    assert "asked nobody for a password" in notes[0]


def test_the_old_server_makes_room() -> None:
    there = facts(unit="foreign", port_owner={"pid": 7, "name": "mlflow", "unit": OLD["unit"], "ours": False})
    seen = adoption.without_old(there, PLAIN)
    assert (seen["unit"], seen["port_owner"]) == ("absent", None)
    other = {**there, "port_owner": {"pid": 7, "name": "nginx", "unit": "nginx.service", "ours": False}}
    assert adoption.without_old(other, PLAIN)["port_owner"]["name"] == "nginx"
    assert adoption.without_old(there, replace(PLAIN, name="team"))["unit"] == "foreign"


def test_the_plan_is_the_deployments_own_with_the_data_before_the_unit() -> None:
    deployment = adoption.with_settings(PLAIN, LOCAL)
    secrets = Secrets(admin_password=PASSWORD)
    plain = blueprint(deployment, secrets, facts(LOCAL), "me")
    with_data = adopting(deployment, secrets, facts(LOCAL), "me", "1 run", PASSWORD)
    order = [resource.id for resource in with_data]
    assert [name for name in order if name != "adopted-data"] == [resource.id for resource in plain]
    assert order[order.index("adopted-data") + 1] == "unit"
    assert order.index("artifacts") < order.index("adopted-data") < order.index("admin") < order.index("service")
    # the record must be the one that a plain setup compares with
    assert to_json(with_data[-1]) == to_json(plain[-1])
    data = next(resource for resource in with_data if isinstance(resource, AdoptedData))
    assert data.replaced
    assert data.artifacts == "/opt/mlflow/server/data/artifacts"
    assert PASSWORD not in repr(data)
    unit = next(resource for resource in with_data if resource.id == "unit")
    assert isinstance(unit, File)
    assert unit.secret_keys


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": "3.17.2", "listen": "127.0.0.1", "allowed_hosts": []}, []),
        ({"version": "3.17.2", "listen": "0.0.0.0"}, ["Safer is a tunnel", "answered to *.internal"]),
        ({"version": "3.12.0", "allowed_hosts": []}, ["Safer is a tunnel", "are migrated from MLflow 3.12.0"]),
        ({"version": "2.0.0", "allowed_hosts": []}, ["Safer", "answered to every name", "are migrated"]),
        ({"proxied": False, "version": "3.17.2", "allowed_hosts": []}, ["Safer", "need keys of their own, as before"]),
    ],
)
def test_what_should_be_known(changed: dict[str, Any], said: list[str]) -> None:
    old = {**OLD, **changed}
    found = adoption.warnings(adoption.with_settings(PLAIN, old), old)
    assert len(found) == len(said)
    assert all(words in note for words, note in zip(said, found, strict=True))


def test_the_settings_hold_no_secret() -> None:
    assert "CANARY" not in json.dumps(adoption.settings(OLD))


def test_what_there_is_in_words() -> None:
    assert adoption.summary(DETAILS, OLD) == "2 experiments, 1 run, 3 users"
    assert adoption.summary(details(artifact_files=1), LOCAL) == "2 experiments, 1 run, 3 users, 1 artifact file"
    assert adoption.summary(details(counts={}), OLD) == "nothing but an empty database"
