"""How we reach a host: over SSH, or because we are on it. One request, and events until it is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from mlflow_provision.agent.protocol import Done, Event
from mlflow_provision.host.ask import NOBODY, Ask
from mlflow_provision.host.local import LocalHost
from mlflow_provision.host.replies import Reply

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

__all__ = ["NOBODY", "Ask", "Host", "LocalHost", "Reply", "answer", "connect"]


class Host(Protocol):
    """Where an agent can be asked to do something."""

    label: str

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        """Every event of one request, `Done` last. Raises ProvisionError when the request failed.

        What the agent asks of us meanwhile (`Ask`) is answered by `reply`, and is not among the events.
        """

    def interrupt(self) -> None:
        """Ask the agent to stop after its current step; go on reading its events. Safe in a signal handler."""

    def close(self) -> None: ...


def connect(deployment: Deployment, ask: Ask = NOBODY, accept_new_host_key: bool = False) -> Host:
    """The deployment's host, reached."""
    if deployment.host == "local":
        return LocalHost(deployment.scope, ask)
    from mlflow_provision.host.ssh import SshHost

    host = SshHost(deployment.host, deployment.identity_file, ask, accept_new_host_key)
    host.open()
    return host


def answer(host: Host, verb: str, data: dict[str, Any], reply: Reply | None = None) -> dict[str, Any]:
    """The data of a request whose events nobody needs to see."""
    done = Done()
    for event in host.request(verb, data, reply):
        if isinstance(event, Done):
            done = event
    return done.data
