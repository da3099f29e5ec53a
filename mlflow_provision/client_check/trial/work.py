"""What people do with a server: train, log, register, find, load, predict."""

from __future__ import annotations

import math
import os
import secrets
from typing import Any

from .telling import Failed

PREFIX = "mlflow-provision-client-"
ALIAS = "champion"
_PARAMS = {"C": 0.5, "max_iter": 300, "note": "größer ≥ 1"}
_STEPS = 5
_FIGURE = "figures/loss.png"


class Work:
    """One experiment with one run and one model, all by one name. What exists is known, whatever failed."""

    def __init__(self) -> None:
        self.name = PREFIX + secrets.token_hex(8)
        self._run_id = ""
        self._model: Any = None
        self._model_uri = ""
        self._losses: list[float] = []

    def start(self) -> str:
        """Import the client and see that it means our server."""
        import mlflow

        wanted = os.environ["MLFLOW_TRACKING_URI"]
        if mlflow.get_tracking_uri() != wanted:
            raise Failed(f"it would use {mlflow.get_tracking_uri()}, not {wanted}")
        return f"mlflow {mlflow.__version__} at {wanted}"

    def train(self) -> str:
        """Train on scikit-learn's own data, and log what is known of it."""
        import mlflow
        from sklearn.datasets import load_iris
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import log_loss

        mlflow.set_experiment(self.name)
        features, classes = load_iris(return_X_y=True)
        with mlflow.start_run(run_name="verify --client") as run:
            self._run_id = run.info.run_id
            mlflow.log_params(_PARAMS)
            for step in range(_STEPS):
                self._model = LogisticRegression(C=_PARAMS["C"] * 2**step, max_iter=_PARAMS["max_iter"])
                self._model.fit(features, classes)
                self._losses.append(float(log_loss(classes, self._model.predict_proba(features))))
                mlflow.log_metric("loss", self._losses[-1], step=step)
            mlflow.log_metric("accuracy", float(self._model.score(features, classes)))
        return f"logistic regression, loss {self._losses[0]:.3f} to {self._losses[-1]:.3f} in {_STEPS} steps"

    def read_back(self) -> str:
        """Parameters and every step of the metric are what was logged."""
        from mlflow import MlflowClient

        client = MlflowClient()
        params = client.get_run(self._run_id).data.params
        _same("parameters", params, {key: str(value) for key, value in _PARAMS.items()})
        history = {point.step: point.value for point in client.get_metric_history(self._run_id, "loss")}
        if history.keys() != set(range(_STEPS)) or not all(
            math.isclose(history[step], loss, rel_tol=1e-9) for step, loss in enumerate(self._losses)
        ):
            raise Failed(f"the metric read back differs: expected {self._losses}, got {history}")
        return f"{len(_PARAMS)} parameters, {_STEPS} steps of a metric"

    def figure(self) -> str:
        """A picture goes to the artifact store and comes back."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        import mlflow

        drawn, axes = plt.subplots()
        axes.plot(self._losses)
        with mlflow.start_run(run_id=self._run_id):
            mlflow.log_figure(drawn, _FIGURE)
        plt.close(drawn)
        with open(mlflow.artifacts.download_artifacts(run_id=self._run_id, artifact_path=_FIGURE), "rb") as file:  # noqa: PTH123
            content = file.read()
        if not content.startswith(b"\x89PNG"):
            raise Failed("what came back is no PNG")
        return f"{_FIGURE}, {len(content) / 1000:.0f} kB"

    def log_model(self) -> str:
        """The model goes to the artifact store by way of the server."""
        import mlflow
        import sklearn

        with mlflow.start_run(run_id=self._run_id) as run:
            logged = mlflow.sklearn.log_model(
                self._model, name="model", pip_requirements=[f"scikit-learn=={sklearn.__version__}"]
            )
        if not run.info.artifact_uri.startswith("mlflow-artifacts:"):
            raise Failed(f"expected mlflow-artifacts:/…, got {run.info.artifact_uri}: clients must reach the store")
        self._model_uri = logged.model_uri
        return str(run.info.artifact_uri)

    def register(self) -> str:
        """The model becomes version 1 of a registered one, with an alias."""
        import mlflow
        from mlflow import MlflowClient

        version = mlflow.register_model(self._model_uri, self.name).version
        client = MlflowClient()
        client.set_registered_model_alias(self.name, ALIAS, version)
        found = client.get_model_version_by_alias(self.name, ALIAS)
        _same("version of the alias", str(found.version), str(version))
        return f"version {version}, alias {ALIAS}"

    def search(self) -> str:
        """The run is found by what was logged."""
        import mlflow

        query = f"params.max_iter = '{_PARAMS['max_iter']}' and metrics.accuracy > 0.5"
        found = mlflow.search_runs(experiment_names=[self.name], filter_string=query, output_format="list")
        _same("runs found", [run.info.run_id for run in found], [self._run_id])
        return query

    def predict(self) -> str:
        """The model comes back by its alias, and says what the trained one says."""
        import mlflow
        from sklearn.datasets import load_iris

        features, _ = load_iris(return_X_y=True)
        loaded = mlflow.pyfunc.load_model(f"models:/{self.name}@{ALIAS}")
        _same("predictions", list(loaded.predict(features)), list(self._model.predict(features)))
        return f"models:/…@{ALIAS}, {len(features)} equal predictions"


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Failed(f"the {what} differ: expected {expected}, got {found}")
