"""Those who log in at a server, as programs do; and somebody on its host who looks for what they log in with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_provision.agent.http import Client, NoAnswer
from tests.e2e.operator import Operator
from tests.e2e.spy import Seen, spying
from tests.lab import LabHost

REQUESTS, AT_ONCE = 24, 4  # of which every worker of a small server gets some
DONE, UNKNOWN, FORBIDDEN = 200, 401, 403


@dataclass(frozen=True)
class Login:
    """A name and a password at a server, which is reached at a port of this machine."""

    port: int
    username: str
    password: str = field(repr=False)

    def with_password(self, password: str) -> Login:
        return replace(self, password=password)

    def asks(self, method: str, path: str, api: str = "2.0", **data: Any) -> tuple[int, dict[str, Any]]:
        """The status of one call of the API, and its answer."""
        client = Client(f"http://127.0.0.1:{self.port}", self.username, self.password, timeout=60)
        path = f"/api/{api}/mlflow{path}"
        if method == "GET":
            response = client.call(method, path, query={name: str(value) for name, value in data.items()})
        else:
            response = client.call(method, path, data=data)
        return response.status, response.json() if response.status == DONE else {}

    def gets(self, method: str, path: str, **data: Any) -> dict[str, Any]:
        """The same where it must be done."""
        status, answer = self.asks(method, path, **data)
        assert status == DONE, f"{self.username}: {method} {path}: {status}"
        return answer

    def logs_in(self) -> int:
        """The status that this login is answered with."""
        return self.asks("GET", "/experiments/search", max_results=1)[0]

    def everywhere(self) -> set[int]:
        """The same, of all workers."""
        return everywhere(self.logs_in)

    def reads(self, experiment: str) -> int:
        """The status of an attempt to look at it."""
        return self.asks("GET", "/experiments/get", experiment_id=experiment)[0]

    def writes(self, experiment: str) -> int:
        """The status of an attempt to log a run."""
        return self.asks("POST", "/runs/create", experiment_id=experiment, start_time=0)[0]

    def makes(self, experiment: str) -> str:
        """A new experiment; its id."""
        return str(self.gets("POST", "/experiments/create", name=experiment)["experiment_id"])


def everywhere(ask: Callable[[], int]) -> set[int]:
    """What all workers say: the statuses that many requests are answered with."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return set(pool.map(lambda _: _patiently(ask), range(REQUESTS)))


def _patiently(ask: Callable[[], int]) -> int:
    """On a busy machine a worker may be silent for 5 s; then uvicorn ends it, with the requests it has."""
    for _ in range(4):
        with suppress(NoAnswer):
            return ask()
    return ask()


@dataclass
class Secrecy:
    """What must not be found, and where it is looked for: all that was shown, noted, logged and started meanwhile."""

    host: LabHost
    operator: Operator
    secrets: list[tuple[str, str]] = field(default_factory=list)  # of whom, and what
    shown: str = ""
    seen: Seen = field(default_factory=Seen)

    def found(self) -> list[str]:
        """The places in which one of the secrets stands, in clear or as basic auth sends it."""
        journal = self.host.run(["journalctl", "--no-pager", "--output=export", "--all"]).stdout
        places = {
            "output": self.shown,
            "audit": self.host.path("/opt/mlflow/audit.jsonl").read_text(),
            "journal": journal,
            "argument lists": self.seen.all,
        }
        assert "_CMDLINE=" in journal and self.seen.rounds > 100
        forms = [form for username, secret in self.secrets for form in _forms(username, secret)]
        return [place for place, text in places.items() if any(form in text for form in forms)]


def _forms(username: str, secret: str) -> tuple[str, ...]:
    return secret, json.dumps(secret)[1:-1], base64.b64encode(f"{username}:{secret}".encode()).decode()


@contextmanager
def secrecy(host: LabHost, operator: Operator) -> Iterator[Secrecy]:
    """Another user of the host looks on within the block; `found` is for after it."""
    watched = Secrecy(host, operator)
    operator.shown.clear()
    with spying(host) as watched.seen:
        yield watched
    watched.shown = "".join(operator.shown)
