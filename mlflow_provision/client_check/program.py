"""Runs in a Python that has mlflow, scikit-learn and matplotlib; imports nothing else of ours, and prints one event a
line, as the agent does. What it needs to know of the server is in MLflow's own environment variables."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

PREFIX = "mlflow-provision-client-"  # names what is ours, also after we were killed
AN_HOUR = 3600 * 1000  # milliseconds
ROUNDS = 5

_events: IO[str] = sys.stdout


class Failed(Exception):
    """The server did something else than it should."""


class Work:
    """Each method is one check; it answers with what it saw."""

    def __init__(self) -> None:
        self.name = PREFIX + secrets.token_hex(8)
        self.experiment = ""
        self.run = ""
        self.model_uri = ""
        self.model: Any = None
        self.data: Any = None

    def is_there(self) -> str:
        import mlflow

        keys = [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]
        if set(keys) - {"AWS_EC2_METADATA_DISABLED"} or os.path.exists(os.path.expanduser("~/.aws")):  # noqa: PTH110, PTH111
            raise Failed(f"this check must hold no cloud key, and has {', '.join(sorted(keys)) or '~/.aws'}")
        return f"mlflow {mlflow.__version__}, Python {sys.version.split()[0]}, no cloud key"

    def creates_an_experiment(self) -> str:
        import mlflow

        remove_older(self.name)
        self.experiment = mlflow.create_experiment(self.name)
        place = mlflow.get_experiment(self.experiment).artifact_location
        if not place.startswith("mlflow-artifacts:"):
            raise Failed(f"artifacts would go to {place}, for which every client needs a key of its own")
        return f"{self.name}, artifacts through the server"

    def trains_and_logs(self) -> str:
        import mlflow
        from sklearn.datasets import load_iris
        from sklearn.linear_model import SGDClassifier

        features, classes = load_iris(return_X_y=True)
        self.data, self.model = features, SGDClassifier(random_state=0)
        with mlflow.start_run(experiment_id=self.experiment) as run:
            self.run = run.info.run_id
            mlflow.log_params({"model": "SGDClassifier", "rounds": ROUNDS})
            for step in range(ROUNDS):
                self.model.partial_fit(features, classes, classes=[0, 1, 2])
                mlflow.log_metric("accuracy", self.model.score(features, classes), step=step)
        history = mlflow.MlflowClient().get_metric_history(self.run, "accuracy")
        if sorted(metric.step for metric in history) != list(range(ROUNDS)):
            raise Failed(f"logged {ROUNDS} steps of a metric, and got back {len(history)}")
        return f"2 parameters, {ROUNDS} steps, accuracy {history[-1].value:.2f}"

    def logs_a_figure(self) -> str:
        import matplotlib

        matplotlib.use("Agg")
        import mlflow
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot(range(ROUNDS))
        with mlflow.start_run(run_id=self.run):
            mlflow.log_figure(figure, "figures/accuracy.png")
        here = mlflow.artifacts.download_artifacts(run_id=self.run, artifact_path="figures/accuracy.png")
        with open(here, "rb") as file:  # noqa: PTH123
            if file.read(8) != b"\x89PNG\r\n\x1a\n":
                raise Failed("the figure that came back is no PNG")
        return f"{os.path.getsize(here)} bytes, there and back"  # noqa: PTH202

    def logs_the_model(self) -> str:
        import mlflow

        with mlflow.start_run(run_id=self.run):
            # Without requirements MLflow would work them out, by loading the model in another process.
            logged = mlflow.sklearn.log_model(
                self.model, name="model", pip_requirements=["scikit-learn"], input_example=None
            )
        self.model_uri = logged.model_uri
        return self.model_uri

    def registers_it(self) -> str:
        import mlflow

        version = mlflow.register_model(self.model_uri, self.name, await_registration_for=60).version
        client = mlflow.MlflowClient()
        client.set_registered_model_alias(self.name, "champion", version)
        found = client.get_model_version_by_alias(self.name, "champion").version
        if str(found) != str(version):
            raise Failed(f"the alias of version {version} leads to version {found}")
        return f"version {version}, alias champion"

    def finds_the_run(self) -> str:
        import mlflow

        query = "params.model = 'SGDClassifier' and metrics.accuracy > 0"
        found = mlflow.search_runs([self.experiment], query, output_format="list")
        if [run.info.run_id for run in found] != [self.run]:
            raise Failed(f"searched for 1 run, and found {len(found)}")
        return query

    def loads_and_predicts(self) -> str:
        import mlflow

        loaded = mlflow.sklearn.load_model(f"models:/{self.name}@champion")
        if (loaded.predict(self.data) != self.model.predict(self.data)).any():
            raise Failed("the model that came back predicts something else")
        return f"{len(self.data)} predictions, the same"

    def is_left_clean(self) -> str:
        remove(self.name)
        return "removed experiment, run, model and artifacts"


CHECKS: tuple[tuple[str, str, Callable[[Work], str]], ...] = (
    ("client", "the client is a real one", Work.is_there),
    ("experiment", "creates an experiment", Work.creates_an_experiment),
    ("train", "trains a model and logs parameters and metrics", Work.trains_and_logs),
    ("figure", "logs a figure and gets it back", Work.logs_a_figure),
    ("model", "logs the model", Work.logs_the_model),
    ("register", "registers it and sets an alias", Work.registers_it),
    ("search", "finds the run by a search", Work.finds_the_run),
    ("predict", "loads the model back and predicts", Work.loads_and_predicts),
)


def remove(name: str) -> None:
    """What one check made. MLflow marks experiment and run as deleted; model and artifacts go for good."""
    import mlflow

    client = mlflow.MlflowClient()
    with suppress(mlflow.exceptions.RestException):  # it did not come to that
        client.delete_registered_model(name)
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        return
    folders = [run.info.run_id for run in client.search_runs([experiment.experiment_id])]
    for model in _logged_models(client, experiment.experiment_id):
        folders.append(f"models/{model.model_id}")
        client.delete_logged_model(model.model_id)
    _delete_folders(experiment.artifact_location, folders)
    client.delete_experiment(experiment.experiment_id)


def _delete_folders(place: str, folders: list[str]) -> None:
    """Those of our runs and models, and those above them that are empty then: an experiment's number may have been used
    before, by a server whose artifacts are still in this store."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store = get_artifact_repository(place)
    for folder in folders:
        if store.list_artifacts(folder):
            store.delete_artifacts(folder)
    for above in ("models", ""):
        if not store.list_artifacts(above or None):
            with suppress(Exception):  # nothing was there, or nothing is left
                store.delete_artifacts(above or None)


def _logged_models(client: Any, experiment: str) -> list[Any]:
    return list(client.search_logged_models([experiment])) if hasattr(client, "search_logged_models") else []


def remove_older(name: str) -> None:
    """What checks left that were killed."""
    import mlflow

    an_hour_ago = time.time() * 1000 - AN_HOUR
    for experiment in mlflow.search_experiments(filter_string=f"name LIKE '{PREFIX}%'"):
        if experiment.name != name and (experiment.creation_time or 0) < an_hour_ago:
            remove(experiment.name)


def main() -> None:
    work = Work()
    fine = True
    try:
        for step, title, check in CHECKS:
            fine = fine and _said(step, title, lambda check=check: check(work))  # type: ignore[misc]
    finally:
        if work.experiment:
            _said("clean", "leaves the server as it was", work.is_left_clean)
    _say({"event": "done"})


def _said(step: str, title: str, check: Callable[[], str]) -> bool:
    _say({"event": "start", "step": step, "title": title})
    began = time.monotonic()
    try:
        verdict, summary = "ok", check()
    except Failed as problem:
        verdict, summary = "failed", str(problem)
    except Exception as problem:  # whatever the client raises is what a person would have got
        verdict, summary = "failed", f"{type(problem).__name__}: {problem}"[:600]
    seconds = time.monotonic() - began
    _say({"event": "result", "step": step, "title": title, "verdict": verdict, "seconds": seconds, "summary": summary})
    return verdict == "ok"


def _say(event: dict[str, Any]) -> None:
    _events.write(json.dumps(event) + "\n")
    _events.flush()


if __name__ == "__main__":
    # MLflow prints to stdout what it likes (addresses of runs, progress); the events have a descriptor of their own.
    _events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main()
