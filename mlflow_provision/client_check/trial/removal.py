"""Takes away what a trial made, and what one that was killed has left."""

from __future__ import annotations

import re
import time
from typing import Any

from .telling import Failed
from .work import PREFIX

_AN_HOUR = 3600 * 1000  # milliseconds
_OURS = re.compile(re.escape(PREFIX) + "[0-9a-f]{16}")
_STAYS = "run and experiment stay marked deleted until `mlflow gc`"


def remove(name: str) -> str:
    """Registered models go for good, and artifacts too; the rest is as gone as MLflow's API can make it."""
    from mlflow import MlflowClient

    client = MlflowClient()
    problems: list[str] = []
    models = [model for model in client.search_registered_models(f"name LIKE '{PREFIX}%'") if _is_meant(model, name)]
    for model in models:
        _try(problems, f"model {model.name}", lambda model=model: client.delete_registered_model(model.name))
    found = client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'")
    experiments = [experiment for experiment in found if _is_meant(experiment, name)]
    for experiment in experiments:
        _remove_experiment(client, experiment, problems)
    if problems:
        raise Failed("left behind (the next trial tries again): " + "; ".join(problems))
    if not models and not experiments:
        return "nothing to remove"
    older = len({one.name for one in [*models, *experiments]} - {name})
    what = "model, figure and registration are gone" + (f", also those of {older} earlier trials" if older else "")
    return f"{what}; {_STAYS}"


def _is_meant(thing: Any, name: str) -> bool:
    """Ours of now, or of a trial that must be over."""
    if not _OURS.fullmatch(thing.name):
        return False
    return bool(thing.name == name) or _made(thing) < time.time() * 1000 - _AN_HOUR


def _made(thing: Any) -> int:
    return int(getattr(thing, "creation_time", None) or getattr(thing, "creation_timestamp", None) or 0)


def _remove_experiment(client: Any, experiment: Any, problems: list[str]) -> None:
    number = experiment.experiment_id
    before = len(problems)
    for model in client.search_logged_models([number]):
        _try(problems, model.model_id, lambda model=model: _delete_files(model.artifact_location, model.model_id))
        _try(problems, model.model_id, lambda model=model: client.delete_logged_model(model.model_id))
    for run in client.search_runs([number]):
        _try(problems, run.info.run_id, lambda run=run: _delete_files(run.info.artifact_uri, run.info.run_id))
    for folder in (f"{experiment.artifact_location}/models", experiment.artifact_location):
        _try(problems, folder, lambda folder=folder: _delete_if_empty(folder))
    # Last: as long as it is active, the next trial finds what is left of it.
    if len(problems) == before:
        _try(problems, experiment.name, lambda: client.delete_experiment(number))


def _delete_files(uri: str, owner: str) -> None:
    """The folder that is named for the run or model itself, and nothing above it."""
    above, _, last = uri.rstrip("/").rpartition("/")
    store = _store(above if last == "artifacts" and above.endswith(f"/{owner}") else uri)
    store.delete_artifacts()
    if left := store.list_artifacts():
        raise Failed(f"the store still has {', '.join(entry.path for entry in left)}")


def _delete_if_empty(uri: str) -> None:
    """An experiment's number may have been used before, by a server whose artifacts are still in this store."""
    store = _store(uri)
    if not store.list_artifacts():
        store.delete_artifacts()


def _store(uri: str) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri)


def _try(problems: list[str], what: str, action: Any) -> None:
    try:
        action()
    except Exception as error:
        problems.append(f"{what}: {error}")
