"""What a team makes on a server through its API, and everything of it that can be seen there afterwards."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from mlflow_provision.agent.http import Client
from tests.e2e.operator import Operator

USERS = {"ada": "CANARY-password-of-ada", "grace": "CANARY-password-of-grace"}
FILES = {
    "model/weights.bin": bytes(range(256)) * 8192,  # 2 MiB
    "notes/größe & co.txt": b"precious",
    "notes/empty": b"",
}
SUMS = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
MODEL = "churn"
_API = "/api/2.0/mlflow/"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


@dataclass(frozen=True)
class Work:
    """The ids of what was made."""

    experiment: str
    runs: tuple[str, ...]


@contextmanager
def as_admin(operator: Operator, name: str) -> Iterator[Client]:
    """A client that comes through a tunnel with the password that the operator has."""
    operator.run("tunnel", name, "--background")
    try:
        yield at_home(operator, name)
    finally:
        operator.run("tunnel", "--stop", name)


def at_home(operator: Operator, name: str) -> Client:
    """The same for a server on this machine."""
    environment = operator.json("env", name)["environment"]
    return Client(environment["MLFLOW_TRACKING_URI"], "admin", environment["MLFLOW_TRACKING_PASSWORD"], timeout=30)


def make(admin: Client) -> Work:
    """Two runs, artifacts, two versions of a model, and two users, one of whom may manage the experiment."""
    experiment = post(admin, "experiments/create", name="größe & co")["experiment_id"]
    runs = tuple(_run(admin, experiment, number) for number in range(2))
    for path, content in FILES.items():
        assert admin.call("PUT", artifact(experiment, runs[0], path), body=content).status == 200
    post(admin, "registered-models/create", name=MODEL)
    for run in runs:
        source = f"mlflow-artifacts:/{experiment}/{run}/artifacts/model"
        post(admin, "model-versions/create", name=MODEL, source=source, run_id=run)
    for name, password in USERS.items():
        post(admin, "users/create", username=name, password=password)
    _let_manage(admin, experiment, "ada")
    return Work(experiment, runs)


def seen(admin: Client, work: Work) -> dict[str, Any]:
    """The same from every version of MLflow."""
    return {
        "experiments": sorted(experiments(admin)),
        "runs": [_seen_run(admin, run) for run in work.runs],
        "files": {path: _sum(admin, work, path) for path in FILES},
        "versions": [_version(admin, number) for number in ("1", "2")],
        "users": {name: _login(admin, name, password) for name, password in USERS.items()},
        "strangers": {name: _login(admin, name, password + "x") for name, password in USERS.items()},
    }


def experiments(admin: Client) -> list[str]:
    return [found["name"] for found in post(admin, "experiments/search", max_results=100)["experiments"]]


def manages(admin: Client, work: Work, username: str) -> bool:
    """May a user manage the experiment? As MLflow is asked from 3.12 on."""
    query = {"username": username, "resource_type": "experiment", "resource_id": work.experiment}
    answer = admin.call("GET", "/api/3.0/mlflow/users/permissions/get", query=query)
    assert answer.status == 200, answer.text
    return bool(answer.json()["permission"] == "MANAGE")


def _let_manage(admin: Client, experiment: str, username: str) -> None:
    grant = {"username": username, "resource_type": "experiment", "resource_id": experiment, "permission": "MANAGE"}
    status = admin.call("POST", "/api/3.0/mlflow/users/permissions/grant", data=grant).status
    if status == 404:  # before MLflow 3.12
        post(admin, "experiments/permissions/create", experiment_id=experiment, username=username, permission="MANAGE")
    else:
        assert status == 200, status


def post(client: Client, path: str, **data: Any) -> dict[str, Any]:
    answer = client.call("POST", _API + path, data=data)
    assert answer.status == 200, f"{path}: {answer.status} {answer.text}"
    found: dict[str, Any] = answer.json()
    return found


def create_run(client: Client, experiment: str, name: str) -> str:
    now = int(time.time() * 1000)
    created = post(client, "runs/create", experiment_id=experiment, start_time=now, run_name=name)
    return str(created["run"]["info"]["run_id"])


def _get(client: Client, path: str, **query: str) -> dict[str, Any]:
    answer = client.call("GET", _API + path, query=query)
    assert answer.status == 200, f"{path}: {answer.status} {answer.text}"
    found: dict[str, Any] = answer.json()
    return found


def _run(admin: Client, experiment: str, number: int) -> str:
    run = create_run(admin, experiment, f"run {number}")
    metrics = [{"key": "loss", "value": 1 / (step + 1), "timestamp": step, "step": step} for step in range(20)]
    params, tags = [{"key": "long", "value": "x" * 3000}], [{"key": "colour", "value": "blue"}]
    post(admin, "runs/log-batch", run_id=run, metrics=metrics, params=params, tags=tags)
    post(admin, "runs/update", run_id=run, status="FINISHED", end_time=int(time.time() * 1000))
    return run


def _seen_run(admin: Client, run: str) -> dict[str, Any]:
    found = _get(admin, "runs/get", run_id=run)["run"]
    history = _get(admin, "metrics/get-history", run_id=run, metric_key="loss", max_results="100")["metrics"]
    info = {name: found["info"][name] for name in ("run_name", "status", "start_time", "end_time", "artifact_uri")}
    tags = {tag["key"]: tag["value"] for tag in found["data"]["tags"] if not tag["key"].startswith("mlflow.")}
    points = [(point["step"], point["value"], point["timestamp"]) for point in history]
    return {**info, "params": found["data"]["params"], "tags": tags, "loss": sorted(points)}


def _version(admin: Client, number: str) -> dict[str, Any]:
    found = _get(admin, "model-versions/get", name=MODEL, version=number)["model_version"]
    return {name: found[name] for name in ("name", "version", "source", "run_id", "status")}


def _sum(admin: Client, work: Work, path: str) -> str:
    digest = hashlib.sha256()
    status = admin.call("GET", artifact(work.experiment, work.runs[0], path), sink=digest.update).status
    return digest.hexdigest() if status == 200 else f"HTTP {status}"


def artifact(experiment: str, run: str, path: str) -> str:
    """Where the server takes and gives one."""
    return f"{_ARTIFACTS}{experiment}/{run}/artifacts/{quote(path)}"


def _login(admin: Client, name: str, password: str) -> int:
    user = replace(admin, username=name, password=password)
    return user.call("POST", _API + "experiments/search", data={"max_results": 1}).status
