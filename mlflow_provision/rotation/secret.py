"""Other secrets of the server's own: they are made on the host, and never leave it."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_provision.agent.protocol import Event
from mlflow_provision.blueprint.rotation import rotate_request
from mlflow_provision.users import Reached


def change(reached: Reached) -> Iterator[Event]:
    """Its answer is `{"names", "keys", "unreadable", "restarted"}`: what is new, how many keys of the AI gateway were
    locked anew, and the names of those that could not be opened before either."""
    return reached.host.request("rotate", rotate_request(reached.deployment, reached.secrets, reached.facts))
