"""A set-up server and its operator, the requests that go through a tunnel, and a tunnel that is watched."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.operator import Operator
from tests.e2e.waiting import until
from tests.lab import LabHost

NAME = "prod"
UNIT = f"mlflow-{NAME}"


@dataclass
class Served:
    host: LabHost
    operator: Operator

    @property
    def password(self) -> str:
        environment = json.loads(self.operator.run("env", NAME, "--format", "json").stdout)
        return str(environment["MLFLOW_TRACKING_PASSWORD"])

    def tunnels(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.operator.json("tunnel", "--list")["tunnels"]
        return found

    def opened(self, *arguments: str) -> dict[str, Any]:
        """A tunnel in the background."""
        tunnel: dict[str, Any] = self.operator.json("tunnel", NAME, "--background", *arguments)["tunnel"]
        return tunnel

    def get(self, port: int, path: str = "/version", host: str = "", timeout: float = 30) -> tuple[int, bytes]:
        """As the administrator, on a port of this machine."""
        return request("GET", port, path, self.password, host=host, timeout=timeout)

    def until_no_tunnel(self) -> None:
        """One that was only used ends half a second after its last user."""
        until(lambda: not self.tunnels(), within=15)

    def another(self, name: str) -> None:
        """A second deployment file of the same server: who only makes a tunnel sees no difference."""
        text = self.operator.toml(NAME).read_text().replace(f'name = "{NAME}"', f'name = "{name}"')
        self.operator.toml(name).write_text(text)

    def end_ssh_sessions(self) -> None:
        self.host.run(["pkill", "-9", "-f", f"sshd: {self.host.user}"], check=False)

    def as_it_was(self) -> None:
        self.host.network.restore()
        self.operator.run("tunnel", "--stop", "--all")
        self.operator.toml("twin").unlink(missing_ok=True)


def request(
    method: str, port: int, path: str, password: str, body: Any = None, host: str = "", timeout: float = 30
) -> tuple[int, bytes]:
    token = base64.b64encode(f"admin:{password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = {"Authorization": f"Basic {token}", **({"Host": host} if host else {})}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@dataclass
class Watched:
    """A tunnel in the foreground and the events that it tells."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.events[-1]["port"])

    def states(self) -> list[str]:
        return [event["state"] for event in self.events if event.get("event") == "state"]

    def reaches(self, state: str, timeout: float = 30) -> dict[str, Any]:
        """Wait for one more change, into this state; the seconds it took are in `waited`."""
        began, seen = time.monotonic(), getattr(self, "_seen", 0)
        while time.monotonic() - began < timeout:
            for number, event in enumerate(self.events[seen:], seen + 1):
                if event.get("event") == "state" and event["state"] == state:
                    self._seen = number
                    return {**event, "waited": time.monotonic() - began}
            time.sleep(0.02)
        raise AssertionError(f"{state} did not come within {timeout} s: {self.states()}")

    def ended(self, timeout: float = 30) -> dict[str, Any]:
        """Wait for its end; its document."""
        self.process.wait(timeout)
        time.sleep(0.1)
        return self.events[-1]

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))


@contextmanager
def watched(operator: Operator, *arguments: str) -> Iterator[Watched]:
    """`tunnel --json` until the block ends."""
    watch = Watched(operator.start("tunnel", *arguments, "--json"))
    reader = threading.Thread(target=watch._read, daemon=True)
    reader.start()
    try:
        yield watch
    finally:
        watch.process.send_signal(signal.SIGINT)
        watch.process.wait(20)
        reader.join(2)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
