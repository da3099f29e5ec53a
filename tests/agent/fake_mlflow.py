"""As much of MLflow's HTTP API as a verification uses, able to misbehave in every way that it must notice."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.agent.loopback import listening

USERNAME, PASSWORD = "admin", "correct horse battery"
HOSTS = ("localhost", "127.0.0.1", "mlflow.example.com")
ORIGIN = "https://mlflow.example.com"


class Hangup(Exception):
    """Close the connection without an answer."""


@dataclass
class FakeMlflow:
    """The server's state, and its faults."""

    port: int = 0
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    healthy: bool = True
    basic_auth: bool = True
    any_password: bool = False
    admin: bool = True
    unknown: str = ""  # a path that this version does not have
    host_check: bool = True
    origin_check: bool = True
    origins: tuple[str, ...] = (ORIGIN,)
    artifact_scheme: str = "mlflow-artifacts:/"
    faults: dict[str, Callable[[], tuple[int, bytes]]] = field(default_factory=dict)  # path suffix → answer instead
    after: dict[str, Callable[[], None]] = field(default_factory=dict)  # path suffix → done once it was served
    read_back: Callable[[bytes], bytes] = lambda body: body
    keep_metric: Callable[[dict[str, Any]], bool] = lambda metric: True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def data(self, **changes: Any) -> dict[str, Any]:
        """The data of a verify request for this server."""
        return {
            "url": self.url,
            "listen": "127.0.0.1",
            "port": self.port,
            "username": USERNAME,
            "password": PASSWORD,
            "hosts": [f"localhost:{self.port}", "mlflow.example.com"],
            "origins": [f"http://localhost:{self.port}", ORIGIN],
            "service": None,
            "unit": "",
            "process": "",
            "level": "full",
            "kill": False,
            "artifact_bytes": 100_000,
            **changes,
        }

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        parts = urlsplit(target)
        path = re.sub(r"^/(ajax-)?api/\d\.0", "", parts.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.seen.append(f"{method} {path}")
        for suffix, fault in self.faults.items():
            if f"{method} {path}".endswith(suffix) or suffix in f"{method} {path}":
                return fault()
        if path == "/health":
            return (200, b"OK") if self.healthy else (500, b"")
        if self.host_check and headers["Host"].rpartition(":")[0] not in HOSTS and headers["Host"] not in HOSTS:
            return 403, b"Invalid Host header - possible DNS rebinding attack detected"
        if self.origin_check and method == "POST" and not self._origin_allowed(headers.get("Origin")):
            return 403, b"Cross-origin request blocked"
        if self.basic_auth and not self._authenticated(headers.get("Authorization")):
            return 401, b"You are not authenticated."
        if path.startswith("/mlflow-artifacts/artifacts"):
            return self._artifacts(method, unquote(path[len("/mlflow-artifacts/artifacts") :]).strip("/"), query, body)
        handler = getattr(self, "_" + path.strip("/").replace("mlflow/", "").replace("/", "_").replace("-", "_"), None)
        if handler is None or path == self.unknown:
            return 404, b"Not Found"
        answer = handler(json.loads(body) if body else query)
        return 200, json.dumps(answer).encode()

    def _origin_allowed(self, origin: str | None) -> bool:
        return not origin or origin in self.origins or urlsplit(origin).hostname in ("localhost", "127.0.0.1")

    def _authenticated(self, header: str | None) -> bool:
        if not header:
            return False
        pair = base64.b64decode(header.split()[1]).decode()
        return self.any_password or pair == f"{USERNAME}:{PASSWORD}"

    def _artifacts(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if method == "PUT":
            self.files[path] = body
            return 200, b""
        if method == "DELETE":
            self.files = {name: data for name, data in self.files.items() if not (name + "/").startswith(path + "/")}
            return 200, b"{}"
        if path:
            return (200, self.read_back(self.files[path])) if path in self.files else (404, b"{}")
        below = [name for name in self.files if name.startswith(query["path"] + "/")]
        return 200, json.dumps({"files": [{"path": name} for name in below]} if below else {}).encode()

    def _users_get(self, data: dict[str, Any]) -> Any:
        return self._users_current(data) if data["username"] == USERNAME else None

    def _users_current(self, data: dict[str, Any]) -> Any:
        return {"user": {"id": 1, "is_admin": self.admin, "username": USERNAME}}

    def _experiments_search(self, data: dict[str, Any]) -> Any:
        prefix = re.sub(r"name LIKE '(.*)%'", r"\1", data.get("filter", ""))
        found = [item for item in self.experiments.values() if item["name"].startswith(prefix)]
        return {"experiments": found} if found else {}

    def _experiments_create(self, data: dict[str, Any]) -> Any:
        return {"experiment_id": self.add_experiment(data["name"])}

    def _experiments_delete(self, data: dict[str, Any]) -> Any:
        self.experiments[data["experiment_id"]]["lifecycle_stage"] = "deleted"
        return {}

    def _runs_create(self, data: dict[str, Any]) -> Any:
        return {"run": {"info": self.runs[self.add_run(data["experiment_id"])]["info"]}}

    def _runs_log_batch(self, data: dict[str, Any]) -> Any:
        run = self.runs[data["run_id"]]
        run["params"] = data["params"]
        run["metrics"] = [metric for metric in data["metrics"] if self.keep_metric(metric)]
        return {}

    def _runs_update(self, data: dict[str, Any]) -> Any:
        return {}

    def _runs_get(self, data: dict[str, Any]) -> Any:
        run = self.runs[data["run_id"]]
        return {"run": {"info": run["info"], "data": {"params": run["params"]}}}

    def _runs_search(self, data: dict[str, Any]) -> Any:
        found = [run for run in self.runs.values() if run["info"]["experiment_id"] in data["experiment_ids"]]
        return {"runs": [{"info": run["info"]} for run in found]} if found else {}

    def _metrics_get_history(self, data: dict[str, Any]) -> Any:
        if "max_results" not in data:  # as MLflow 3.10 answers
            return {"next_page_token": "more"}
        return {"metrics": self.runs[data["run_id"]]["metrics"]}

    def _artifacts_list(self, data: dict[str, Any]) -> Any:
        below = {name: body for name, body in self.files.items() if data["run_id"] in name}
        return {"files": [{"path": name.rpartition("/")[2], "file_size": len(body)} for name, body in below.items()]}

    def add_experiment(self, name: str, age: float = 0.0) -> str:
        """An experiment that exists; `age` in seconds."""
        number = str(len(self.experiments) + 1)
        created = int((time.time() - age) * 1000)
        self.experiments[number] = {
            "experiment_id": number,
            "name": name,
            "lifecycle_stage": "active",
            "creation_time": created,
        }
        return number

    def add_run(self, experiment_id: str) -> str:
        run_id = f"{len(self.runs) + 1:032x}"
        uri = f"{self.artifact_scheme}{experiment_id}/{run_id}/artifacts"
        info = {"run_id": run_id, "experiment_id": experiment_id, "artifact_uri": uri}
        self.runs[run_id] = {"info": info, "params": [], "metrics": []}
        return run_id


@contextlib.contextmanager
def serve(fake: FakeMlflow) -> Iterator[FakeMlflow]:
    """Run it on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, answer = fake.answer(self.command, self.path, self.headers, body)
            except Hangup:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            for suffix, action in fake.after.items():
                if self.path.endswith(suffix):
                    action()

        do_GET = do_POST = do_PUT = do_DELETE = _serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with listening(Handler) as fake.port:
        yield fake
