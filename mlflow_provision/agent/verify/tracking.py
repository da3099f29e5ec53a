"""What people use the server for: a run with parameters, metrics and an artifact, written and read back."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow_provision.agent.http import Client
from mlflow_provision.agent.verify.answers import content, unexpected
from mlflow_provision.agent.verify.checks import Failed

PREFIX = "mlflow-provision-verify-"
API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_TRANSFER_TIMEOUT = 120.0  # seconds without a byte; the server itself waits for the artifact store
_FILE = "verify.bin"
_PARAMS = {"learning_rate": "0.1", "note": "größer ≥ 1"}
_METRICS = [0.5**step for step in range(10)]  # exact in binary: what comes back must be equal


@dataclass
class Tracking:
    """One experiment with one run. What exists so far is known, whatever failed."""

    client: Client
    artifact_bytes: int
    name: str = field(default_factory=lambda: PREFIX + secrets.token_hex(8))
    experiment_id: str = ""
    run_id: str = ""
    artifact_root: str = ""  # the path of the run's artifacts at the server's proxy
    sha256: str = ""
    stored: bool = False  # may the store hold something of ours?

    def experiment(self) -> str:
        """Create the experiment."""
        self.experiment_id = self._post("experiments/create", {"name": self.name})["experiment_id"]
        return self.name

    def run(self) -> str:
        """Create a run, log to it, read it back."""
        now = int(time.time() * 1000)
        created = self._post(
            "runs/create", {"experiment_id": self.experiment_id, "start_time": now, "run_name": "verify"}
        )
        self.run_id = created["run"]["info"]["run_id"]
        metrics = [{"key": "loss", "value": value, "timestamp": now, "step": n} for n, value in enumerate(_METRICS)]
        params = [{"key": key, "value": value} for key, value in _PARAMS.items()]
        self._post("runs/log-batch", {"run_id": self.run_id, "metrics": metrics, "params": params})
        self._post("runs/update", {"run_id": self.run_id, "status": "FINISHED", "end_time": int(time.time() * 1000)})
        logged = self._get("runs/get", {"run_id": self.run_id})["run"]["data"].get("params", [])
        _same("parameters", {param["key"]: param["value"] for param in logged}, _PARAMS)
        asked = {"run_id": self.run_id, "metric_key": "loss", "max_results": "100"}  # 3.10 gives none without a limit
        history = self._get("metrics/get-history", asked)["metrics"]
        _same("metric values", {point["step"]: point["value"] for point in history}, dict(enumerate(_METRICS)))
        return f"{len(_PARAMS)} parameters and {len(_METRICS)} metric values read back"

    def artifact_uri(self) -> str:
        """Do the run's artifacts go through the server?"""
        uri = self._get("runs/get", {"run_id": self.run_id})["run"]["info"]["artifact_uri"]
        parts = urlsplit(uri)
        if parts.scheme != "mlflow-artifacts":
            raise Failed(
                f"expected mlflow-artifacts:/…, got {uri}: clients must reach the store themselves, with "
                "keys of their own (--default-artifact-root is set, or --no-serve-artifacts)"
            )
        self.artifact_root = parts.path.strip("/")
        return str(uri)

    def upload(self) -> str:
        """Put an artifact through the server's proxy."""
        body = os.urandom(self.artifact_bytes)
        self.sha256 = hashlib.sha256(body).hexdigest()
        started = time.monotonic()
        self.stored = True
        response = self.client.call("PUT", self._file, body=body, timeout=_TRANSFER_TIMEOUT)
        if response.status != 200:
            self.stored = False
            raise unexpected(response, "200 (can the server reach the artifact store, and write to it?)")
        return _rate(self.artifact_bytes, started)

    def download(self) -> str:
        """Find the artifact in the run's list, get it back, compare."""
        listing = self._get("artifacts/list", {"run_id": self.run_id})
        sizes = {entry["path"]: int(entry.get("file_size", 0)) for entry in listing.get("files", [])}
        _same("artifacts", sizes, {_FILE: self.artifact_bytes})
        digest = hashlib.sha256()
        started = time.monotonic()
        response = self.client.call("GET", self._file, sink=digest.update, timeout=_TRANSFER_TIMEOUT)
        if response.status != 200:
            raise unexpected(response, "200")
        if digest.hexdigest() != self.sha256:
            raise Failed("what came back differs from what was uploaded (sha256)")
        return _rate(self.artifact_bytes, started)

    @property
    def _file(self) -> str:
        return f"{ARTIFACTS}/{quote(self.artifact_root)}/{_FILE}"

    def _post(self, path: str, data: dict[str, Any]) -> Any:
        return content(self.client.call("POST", f"{API}/{path}", data=data))

    def _get(self, path: str, query: dict[str, str]) -> Any:
        return content(self.client.call("GET", f"{API}/{path}", query=query))


def _same(what: str, found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    if found != expected:
        raise Failed(f"the {what} read back differ: expected {expected}, got {found}")


def _rate(size: int, started: float) -> str:
    seconds = max(time.monotonic() - started, 1e-6)
    return f"{size / (1 << 20):.1f} MiB at {size / (1 << 20) / seconds:.0f} MiB/s"
