"""Run by a release's own Python, with MLflow's own client: what people make on a server, and all they see there.

`people.py make` prints the ids of what was made, `people.py see IDS` what there is of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PASSWORDS = {"ada": "CANARY-password-of-ada", "grace": "CANARY-password-of-grace"}
EXPERIMENT, SECRET, MODEL = "größe & co", "nobody else's", "churn"
_API = "/api/2.0/mlflow/"


def make() -> dict[str, Any]:
    """As the administrator: two experiments, three runs, artifacts, a model, two users who may not do the same."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    client = MlflowClient()
    open_one, secret = (client.create_experiment(name) for name in (EXPERIMENT, SECRET))
    runs = []
    for number in range(3):
        run = client.create_run(open_one, run_name=f"run {number}").info.run_id
        points = [Metric("loss", 1 / (step + 1), 1700000000000 + step, step) for step in range(20)]
        client.log_batch(run, points, [Param("rate", "0.1"), Param("long", "x" * 3000)], [RunTag("colour", "blue")])
        runs.append(run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "model")
        (folder / "nested").mkdir(parents=True)
        (folder / "weights.bin").write_bytes(bytes(range(256)) * 4096)
        (folder / "nested" / "name with space.txt").write_text("precious")
        client.log_artifacts(runs[0], name)
    for run in runs:
        client.set_terminated(run)
    client.delete_run(runs[2])
    client.create_registered_model(MODEL, tags={"team": "two"})
    for _ in range(2):
        client.create_model_version(MODEL, f"{client.get_run(runs[0]).info.artifact_uri}/model", runs[0])
    client.set_registered_model_alias(MODEL, "champion", "1")
    _let_in(open_one, secret)
    return {"experiments": [open_one, secret], "runs": runs}


def _let_in(open_one: str, secret: str) -> None:
    """Everybody may read what nothing else is said about."""
    for name, password in PASSWORDS.items():
        _expect_ok("POST", "users/create", {"username": name, "password": password})
    _grant("experiment", "experiments/permissions/create", "experiment_id", open_one, "ada", "MANAGE")
    _grant("registered_model", "registered-models/permissions/create", "name", MODEL, "ada", "EDIT")
    _grant("experiment", "experiments/permissions/create", "experiment_id", secret, "grace", "NO_PERMISSIONS")


def _grant(kind: str, old_path: str, old_key: str, id: str, user: str, permission: str) -> None:
    """By the route of before MLflow 3.13, else by that of since 3.12."""
    status = _call("POST", old_path, {old_key: id, "username": user, "permission": permission})
    if status == 404:
        grant = {"username": user, "resource_type": kind, "resource_id": id, "permission": permission}
        _expect_ok("POST", "/api/3.0/mlflow/users/permissions/grant", grant)
    elif status != 200:
        raise SystemExit(f"{old_path}: {status}")


def see(made: dict[str, Any]) -> dict[str, Any]:
    """Everything that was made, as the administrator and as ada see it; and what each may do."""
    seen = {"admin": _content(made, "")}
    with _as("ada", PASSWORDS["ada"]):
        seen["ada"] = _content(made, "model/nested")
    rights = {}
    for name, password in PASSWORDS.items():
        with _as(name, password):
            rights[name] = _rights(*made["experiments"])
    with _as("ada", "not-her-password"):
        rights["nobody"] = {"read": _call("GET", f"experiments/get?experiment_id={made['experiments'][0]}")}
    return {**seen, "rights": rights}


def later(made: dict[str, Any]) -> dict[str, Any]:
    """As the administrator: one more run, and one more user."""
    from mlflow import MlflowClient

    _expect_ok("POST", "users/create", {"username": "late", "password": "CANARY-password-of-late"})
    return {"run": MlflowClient().create_run(made["experiments"][0], run_name="late").info.run_id}


def late(made: dict[str, Any]) -> dict[str, Any]:
    """Are those there?"""
    with _as("late", "CANARY-password-of-late"):
        user = _call("GET", f"experiments/get?experiment_id={made['experiments'][0]}")
    return {"run": _call("GET", f"runs/get?run_id={made['run']}"), "user": user}


def _rights(open_one: str, secret: str) -> dict[str, int]:
    tag, model = {"key": "seen", "value": "yes"}, {"name": MODEL, "description": "seen"}
    return {
        "read": _call("GET", f"experiments/get?experiment_id={open_one}"),
        "write": _call("POST", "experiments/set-experiment-tag", {"experiment_id": open_one, **tag}),
        "read secret": _call("GET", f"experiments/get?experiment_id={secret}"),
        "write secret": _call("POST", "experiments/set-experiment-tag", {"experiment_id": secret, **tag}),
        "read model": _call("GET", f"registered-models/get?name={MODEL}"),
        "write model": _call("PATCH", "registered-models/update", model),
        "make users": _call("POST", "users/create", {"username": "more", "password": "CANARY-password"}),
    }


def _content(made: dict[str, Any], path: str) -> dict[str, Any]:
    """`path`: of the artifacts that are read."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client, experiments = MlflowClient(), made["experiments"]
    runs = client.search_runs(experiments, run_view_type=ViewType.ALL, order_by=["attributes.run_name"])
    history = client.get_metric_history(made["runs"][0], "loss")
    versions = client.search_model_versions(f"name='{MODEL}'")
    return {
        "experiments": {one.name: one.artifact_location for one in map(client.get_experiment, experiments[:1])},
        "runs": {run.info.run_id: _run(run) for run in runs},
        "loss": [(one.step, one.value, one.timestamp) for one in history],
        "artifacts": _artifacts(client, made["runs"][0], path),
        "tags": client.get_registered_model(MODEL).tags,
        "versions": sorted((str(one.version), one.source, one.run_id) for one in versions),
        "champion": str(client.get_model_version_by_alias(MODEL, "champion").version),
    }


def _run(run: Any) -> dict[str, Any]:
    info = ("run_name", "status", "lifecycle_stage", "start_time", "end_time", "artifact_uri", "user_id")
    return {
        **{name: getattr(run.info, name) for name in info},
        "metrics": run.data.metrics,
        "params": run.data.params,
        "tags": run.data.tags,
    }


def _artifacts(client: Any, run: str, path: str) -> dict[str, str]:
    """Path → sum, of what is downloaded."""
    with tempfile.TemporaryDirectory() as name:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            folder = Path(client.download_artifacts(run, path, name))
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextlib.contextmanager
def _as(name: str, password: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(MLFLOW_TRACKING_USERNAME=name, MLFLOW_TRACKING_PASSWORD=password)
    try:
        yield
    finally:
        os.environ.update(before)


def _call(method: str, path: str, data: Any = None) -> int:
    import requests

    who = (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
    url = os.environ["MLFLOW_TRACKING_URI"] + (path if path.startswith("/") else _API + path)
    return int(requests.request(method, url, json=data, auth=who, timeout=60).status_code)


def _expect_ok(method: str, path: str, data: Any) -> None:
    if (status := _call(method, path, data)) != 200:
        raise SystemExit(f"{path}: {status}")


if __name__ == "__main__":
    actions = {"see": see, "later": later, "late": late}
    answer = make() if sys.argv[1] == "make" else actions[sys.argv[1]](json.loads(sys.argv[2]))
    print(json.dumps(answer, sort_keys=True))
