"""Asks hosts how their servers fare, and keeps the connections for the next time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow_provision.blueprint.watching import health_request
from mlflow_provision.config import Deployment
from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import Host, answer

Place = tuple[str, str, str]  # what tells one host from another: name, key, scope


@dataclass(frozen=True)
class Seen:
    """What was learnt of a deployment: `health` and `machine` as the agent tells them, or the error that hid them."""

    deployment: Deployment
    health: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    error: ProvisionError | None = None
    at: float = 0.0  # seconds since 1970, here
    skew: float = 0.0  # seconds by which the host's clock is ahead of ours


class Watch:
    """The deployments that are looked at, again and again if need be; close it at the end."""

    def __init__(self, deployments: Sequence[Deployment], connect: Callable[[Deployment], Host]) -> None:
        self._deployments = deployments
        self._connect = connect
        self._hosts: dict[Place, Host] = {}

    def look(self) -> list[Seen]:
        """Each deployment, in the order given. A host that cannot be reached hides no other."""
        places: dict[Place, list[Deployment]] = {}
        for deployment in self._deployments:
            places.setdefault(_place(deployment), []).append(deployment)
        seen: dict[str, Seen] = {}

        def ask(place: Place, here: list[Deployment]) -> None:
            seen.update({one.deployment.name: one for one in self._asked(place, here)})

        if len(places) == 1:  # questions of a person need no other thread
            ask(*next(iter(places.items())))
        else:
            _at_once([threading.Thread(target=ask, args=item, daemon=True) for item in places.items()])
        return [seen[deployment.name] for deployment in self._deployments]

    def close(self) -> None:
        for host in self._hosts.values():
            host.close()
        self._hosts = {}

    def _asked(self, place: Place, here: list[Deployment]) -> list[Seen]:
        before = time.time()
        try:
            if place not in self._hosts:
                self._hosts[place] = self._connect(here[0])
                before = time.time()
            request = {"deployments": [health_request(deployment) for deployment in here]}
            told = answer(self._hosts[place], "health", request)
        except ProvisionError as error:
            return self._failed(place, here, error)
        except Exception as error:  # what nobody foresaw on one host must not hide the others
            unforeseen = ProvisionError(f"unexpected, a bug of ours: {type(error).__name__}", "")
            return self._failed(place, here, unforeseen)
        now = time.time()
        skew = told["host"]["time"] - (before + now) / 2
        return [
            Seen(deployment, told["deployments"][deployment.name], told["host"], None, now, skew) for deployment in here
        ]

    def _failed(self, place: Place, here: Iterable[Deployment], error: ProvisionError) -> list[Seen]:
        if host := self._hosts.pop(place, None):
            host.close()
        return [Seen(deployment, error=error, at=time.time()) for deployment in here]


def _place(deployment: Deployment) -> Place:
    return deployment.host, deployment.identity_file, deployment.scope if deployment.host == "local" else ""


def _at_once(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)  # a wait without an end would not hear Ctrl-C
