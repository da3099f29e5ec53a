"""Takes away what a verification made, and what an interrupted one left."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.http import Client, NoAnswer, Response
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.verify.answers import content, unexpected
from mlflow_provision.agent.verify.checks import Failed
from mlflow_provision.agent.verify.target import Target
from mlflow_provision.agent.verify.tracking import API, ARTIFACTS, PREFIX, Tracking

_AN_HOUR = 3600 * 1000  # milliseconds
_STORE_TIMEOUT = 60.0
_OURS = re.compile(re.escape(PREFIX) + "[0-9a-f]{16}")


def clean_up(target: Target, work: Tracking) -> str:
    """Remove this verification's experiment and every older one of ours, wholly where the database lets us."""
    client = target.client
    removed = []
    problems = []
    for experiment in _find(client, work.name):
        try:
            if experiment["lifecycle_stage"] == "active":
                _remove(client, experiment["experiment_id"], work.stored or experiment["name"] != work.name)
            removed.append(experiment)
        except (Failed, NoAnswer) as problem:
            problems.append(f"{experiment['name']}: {problem}")
    if problems:
        raise Failed("left behind (the next verification tries again): " + "; ".join(problems))
    if not removed:
        return "nothing to remove"
    older = len([experiment for experiment in removed if experiment["name"] != work.name])
    what = "experiment, run and artifact" + (f", and {older} left by interrupted verifications" if older else "")
    return f"removed {what}; {_purge(target, removed)}"


def _find(client: Client, name: str) -> list[dict[str, Any]]:
    """Ours by name, whatever we were told of it, and those of verifications that were killed."""
    query = {"filter": f"name LIKE '{PREFIX}%'", "view_type": "ALL", "max_results": 1000}
    found = content(client.call("POST", f"{API}/experiments/search", data=query)).get("experiments", [])
    an_hour_ago = time.time() * 1000 - _AN_HOUR
    return [
        experiment
        for experiment in found
        if _OURS.fullmatch(experiment["name"])
        and (experiment["name"] == name or int(experiment.get("creation_time", 0)) < an_hour_ago)
    ]


def _remove(client: Client, experiment_id: str, stored: bool) -> None:
    query = {"experiment_ids": [experiment_id], "run_view_type": "ALL", "max_results": 1000}
    runs = content(client.call("POST", f"{API}/runs/search", data=query)).get("runs", [])
    for run in runs:
        uri = urlsplit(run["info"]["artifact_uri"])
        folder, _, last = uri.path.strip("/").rpartition("/")
        # The run's own folder and nothing above it: an experiment's number may have been used before, by a server
        # whose artifacts are still in this store. A run's id never was.
        if uri.scheme == "mlflow-artifacts" and last == "artifacts" and folder.endswith(run["info"]["run_id"]):
            try:
                _delete_artifacts(client, folder)
            except Failed:
                if stored:  # else the store has failed before, which has been said
                    raise
    # Last, and marks its runs deleted too: as long as it is active, the next verification finds what is left.
    _ok(client.call("POST", f"{API}/experiments/delete", data={"experiment_id": experiment_id}))


def _delete_artifacts(client: Client, folder: str) -> None:
    """Remove a run's folder, and the experiment's above it once that is empty."""
    _ok(client.call("DELETE", f"{ARTIFACTS}/{quote(folder)}", timeout=_STORE_TIMEOUT))
    parent, _, name = folder.rpartition("/")
    if not parent:
        return
    rest = content(client.call("GET", ARTIFACTS, query={"path": parent})).get("files") or []
    # MLflow does not read S3's answer to a deletion, in which every object may have been denied.
    if name in [entry["path"].rpartition("/")[2] for entry in rest]:
        raise Failed(f"the artifact store still has {folder}, though the server says that it is deleted: is it denied?")
    if not rest:
        _ok(client.call("DELETE", f"{ARTIFACTS}/{quote(parent)}", timeout=_STORE_TIMEOUT))


def _ok(response: Response) -> None:
    if response.status != 200:
        raise unexpected(response, "200")


def _purge(target: Target, experiments: list[dict[str, Any]]) -> str:
    """MLflow only marks things deleted. Take our rows out of its SQLite databases for good."""
    trash = "marked deleted in the database (`mlflow gc` removes it)"
    if not target.tracking_database:
        return trash
    # Imported late: only a full verification comes here.
    from mlflow_provision.agent.verify.purge import purge

    names = {experiment["experiment_id"]: experiment["name"] for experiment in experiments}
    try:
        problem = as_user(
            target.user, lambda: purge(target.tracking_database, target.auth_database, names, target.username)
        )
    except (AgentError, OSError, KeyError) as error:
        problem = str(error)
    return f"{trash}: {problem}" if problem else "no row is left in the databases"
