"""Everything that stands in the way of a setup: each seen, all told at once, none on a good host."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mlflow_provision.config import Deployment
from mlflow_provision.preflight import problems, upgrade_problems, warnings
from mlflow_provision.provision import with_version
from tests.unit.hosts import BACKED_UP, BACKUP_FOLDER, BACKUP_LOCAL, CASES, ELSEWHERE, LOCAL, OPEN, facts, server


def told(deployment: Deployment, skew: float = 0.0, moved: bool = False, **other: Any) -> str:
    found = problems(deployment, facts(deployment, **other), skew, moved)
    return "\n".join(f"{problem.message} → {problem.hint}" for problem in found)


@pytest.mark.parametrize("deployment", CASES.values(), ids=list(CASES))
def test_nothing_stands_in_the_way_on_a_good_host(deployment: Deployment) -> None:
    assert told(deployment) == ""
    applied = {"mlflow_version": deployment.mlflow.version, "artifacts": deployment.artifacts.destination or ""}
    applied["artifacts"] = applied["artifacts"] or f"{facts(deployment)['root']['path']}/server/data/artifacts"
    again: dict[str, Any] = {
        "root": {**facts(deployment)["root"], "state": "ours"},
        "unit": "ours",
        "port_owner": {"pid": 1, "name": "python", "unit": "mlflow-server.service", "ours": True},
        "applied": applied,
        "release_installed": True,
        "index": None,
        "disk_free": 300 << 20,
    }
    assert told(deployment, **again) == ""


def system(name: str, version: str) -> dict[str, str]:
    return {"id": name, "version": version, "name": f"{name} {version}"}


ROOT = {"path": "/opt/mlflow", "state": "foreign"}
NGINX = {"pid": 812, "name": "nginx", "unit": "nginx.service", "ours": False}
STRANGER = {"pid": 0, "name": "another user's program", "unit": "", "ours": False}
NO_INDEX = {"error": "this host cannot reach it", "hint": "let it", "versions": [], "half_published": []}
EMPTY_INDEX = {"error": "", "hint": "", "versions": [], "half_published": []}
INDEX = {"error": "", "hint": "", "versions": ["3.17.2", "3.17.1", "3.16.1"], "half_published": ["3.18.0"]}
ALL_HALF = {"error": "", "hint": "", "versions": [], "half_published": ["3.17.2"]}


@pytest.mark.parametrize(
    ("other", "message", "hint"),
    [
        ({"os": system("fedora", "42")}, "fedora 42 is not supported", "Debian 11 or newer"),
        ({"os": system("debian", "10")}, "debian 10 is not supported", "Debian 11 or newer"),
        ({"os": system("ubuntu", "20.04")}, "ubuntu 20.04 is not supported", "Ubuntu 22.04"),
        ({"os": system("debian", "")}, "is not supported", "Debian 11"),
        ({"systemd": False}, "does not run systemd", "--scope user"),
        ({"arch": "riscv64"}, "no packages for the processor riscv64", "aarch64"),
        ({"libc": "2.17"}, "C library is 2.17", "newer distribution"),
        ({"libc": ""}, "not glibc", "newer distribution"),
        ({"memory": 512 << 20}, "0.5 GiB of memory is too little", "2 GiB"),
        ({"disk_free": 1 << 30}, "1.0 GiB free at /opt/mlflow is too little: 2.0 needed", 'root = "/path"'),
        ({"restoring": True}, "was interrupted half-way", "restore --undo server"),
        ({"disk_free": 100 << 20, "release_installed": True}, "0.1 GiB free", "free some space"),
        ({"root": ROOT}, "/opt/mlflow is not empty and was not made by", "sudo mv /opt/mlflow /opt/mlflow.old"),
        ({"unit": "foreign"}, "there is a mlflow-server.service on this host", "--name"),
        (
            {"port_owner": NGINX, "free_port": 5001},
            "port 5000 is used by nginx (process 812, nginx.service)",
            "--port 5001",
        ),
        ({"port_owner": STRANGER, "free_port": 5007}, "port 5000 is used by another user's program →", "--port 5007"),
        ({"index": NO_INDEX}, "this host cannot reach it", "let it"),
        ({"index": EMPTY_INDEX}, "lists no MLflow that can be installed", "--index-url"),
        ({"upgrading": True}, "is being upgraded, or that was interrupted", "mlflow-provision rollback server"),
        (
            {"applied": {"mlflow_version": "3.16.1"}},
            "this server runs MLflow 3.16.1",
            'mlflow-provision upgrade server --to 3.17.2; or keep version = "3.16.1"',
        ),
        (
            {"applied": {"mlflow_version": "3.18.1"}},
            "this server runs MLflow 3.18.1",
            'mlflow-provision rollback server; or keep version = "3.18.1"',
        ),
        ({"applied": {"artifacts": "s3://old"}}, "keeps its artifacts in s3://old", "--artifacts-moved"),
    ],
)
def test_each_problem_and_the_way_out(other: dict[str, Any], message: str, hint: str) -> None:
    text = told(server(), **other)
    assert message in text
    assert hint in text.partition("→")[2]
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("skew", "words"), [(301, "5 minutes ahead of"), (-3600, "60 minutes behind"), (1e7, "166667 minutes ahead of")]
)
def test_a_clock_that_is_off(skew: float, words: str) -> None:
    assert f"the host's clock is {words} this machine's" in told(server(), skew)


@pytest.mark.parametrize("skew", [0, 299, -299])
def test_a_clock_that_is_nearly_right(skew: float) -> None:
    assert told(server(), skew) == ""


@pytest.mark.parametrize(
    ("version", "index", "message", "hint"),
    [
        ("3.18.0", INDEX, "MLflow 3.18.0 is only half published", "--mlflow-version 3.17.2"),
        ("3.71.2", INDEX, "there is no MLflow 3.71.2", "3.17.2"),
        ("99.0", INDEX, "there is no MLflow 99.0", "3.17.2"),
        ("3.17.2", ALL_HALF, "", "--index-url"),
    ],
)
def test_a_version_that_cannot_be_installed(version: str, index: dict[str, Any], message: str, hint: str) -> None:
    text = told(server(mlflow={"version": version}), index=index)
    assert message in text
    assert hint in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("version", ["3.17.1", "3.16.1", "3.18.0rc1", "4.0.0.dev0"])
def test_a_version_that_may_be_installed(version: str) -> None:
    assert told(server(mlflow={"version": version}), index=INDEX) == ""


def test_all_problems_come_at_once_and_none_twice() -> None:
    text = told(
        server(),
        skew=4000,
        os=system("fedora", "42"),
        systemd=False,
        arch="riscv64",
        libc="2.17",
        memory=1 << 20,
        disk_free=1 << 20,
        root=ROOT,
        unit="foreign",
        port_owner=NGINX,
        index=NO_INDEX,
        applied={"mlflow_version": "3.16.1", "artifacts": "s3://old"},
    )
    assert len(text.splitlines()) == len(set(text.splitlines())) == 13


@pytest.mark.parametrize(
    "host", [system("debian", "11"), system("debian", "13"), system("ubuntu", "22.04"), system("ubuntu", "24.10")]
)
def test_the_distributions_that_are_supported(host: dict[str, str]) -> None:
    assert told(server(), os=host) == ""


def test_without_root_neither_systemd_nor_a_distribution_is_asked_for() -> None:
    assert told(LOCAL, os=system("arch", ""), systemd=False) == ""


@pytest.mark.parametrize("applied", [{}, {"name": "server"}, {"mlflow_version": "", "artifacts": ""}])
def test_a_record_that_lacks_something_is_no_crash(applied: dict[str, Any]) -> None:
    assert told(server(), applied=applied) == ""


def test_artifacts_that_were_moved_may_be_elsewhere() -> None:
    applied = {"artifacts": "/opt/mlflow/server/data/artifacts"}
    assert "--artifacts-moved" in told(dataclasses.replace(ELSEWHERE, root=""), applied=applied)
    assert told(dataclasses.replace(ELSEWHERE, root=""), moved=True, applied=applied) == ""


def test_what_is_allowed_but_should_be_known() -> None:
    assert warnings(server()) == []
    assert warnings(LOCAL) == []
    exposed, several = warnings(OPEN)
    assert "0.0.0.0" in exposed
    assert "without encryption" in exposed
    assert "several workers" in several
    assert warnings(server(mlflow={"workers": 1, "listen": "::1"})) == []


def test_what_should_be_known_about_backups() -> None:
    assert ["on the host itself" in told for told in warnings(BACKUP_FOLDER)] == [True]
    on_host, by_hand = warnings(BACKUP_LOCAL)
    assert "on the host itself" in on_host
    assert "`mlflow-provision backup schedule server` prints the line" in by_hand
    assert warnings(BACKED_UP) == []


def test_an_old_mlflow_is_only_for_a_server_that_runs_it_already() -> None:
    deployment = with_version(server(), "3.9")
    assert "any web page" in told(deployment)
    applied = {"mlflow_version": "3.9", "artifacts": "/opt/mlflow/server/data/artifacts"}
    root = {**facts(deployment)["root"], "state": "ours"}
    assert "any web page" not in told(deployment, applied=applied, root=root)


def told_of_an_upgrade(version: str, **other: Any) -> str:
    wanted = with_version(server(), version)
    ours = {"root": {**facts(wanted)["root"], "state": "ours"}, "unit": "ours", "index": INDEX}
    applied = {"mlflow_version": "3.16.1", "artifacts": "/opt/mlflow/server/data/artifacts"}
    found = upgrade_problems(wanted, facts(wanted, **{**ours, "applied": applied, **other}))
    return "\n".join(f"{problem.message} → {problem.hint}" for problem in found)


def test_an_upgrade_brings_the_databases_along_and_nothing_else_elsewhere() -> None:
    assert told_of_an_upgrade("3.17.2") == ""
    moved = {"mlflow_version": "3.16.1", "artifacts": "s3://old"}
    assert "keeps its artifacts in s3://old" in told_of_an_upgrade("3.17.2", applied=moved)


@pytest.mark.parametrize(
    ("version", "message", "hint"),
    [
        ("3.18.0", "only half published", "--to 3.17.2"),
        ("3.71.2", "there is no MLflow 3.71.2", "--to latest"),
        ("3.9.0", "too old", "--to 3.17.2"),
    ],
)
def test_what_cannot_be_upgraded_to_is_told_in_the_words_of_its_option(version: str, message: str, hint: str) -> None:
    text = told_of_an_upgrade(version)
    assert message in text and hint in text and "--mlflow-version" not in text
