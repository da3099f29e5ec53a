"""What the agent is asked when artifacts move: the data of the verb `move`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.moving.bucket import Access
from mlflow_provision.agent.resources import Resource, to_json
from mlflow_provision.blueprint import schedule
from mlflow_provision.blueprint.backup import settings_request
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.questions import verify_request
from mlflow_provision.blueprint.resources import blueprint
from mlflow_provision.blueprint.service import server
from mlflow_provision.blueprint.upgrading import backed_up
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.layout import Layout

LOOK, MOVE, LOOK_STORE, RELOCATE, DELETE = "look", "move", "look-store", "relocate", "delete"


@dataclass(frozen=True)
class Move:
    """What is asked for. `source`: how buckets are read that are not the deployment's own, where it differs."""

    action: str
    source: Access | None = field(default=None, repr=False)
    as_root: tuple[str, ...] = ()
    missing: bool = False
    thorough: bool = False
    identity: str = field(default="", repr=False)  # what opens the backup that is made first


def move_request(deployment: Deployment, secrets: Secrets, facts: dict[str, Any], move: Move) -> dict[str, Any]:
    """The data for artifacts that are elsewhere, and for originals that go."""
    layout = _layout(deployment, facts)
    own = access(deployment, secrets)
    return {
        "action": move.action,
        **({} if move.action == LOOK else changing(deployment, facts, _what(deployment, move.action))),
        **_server(layout, secrets, facts),
        "target": asdict(own),
        "source": asdict(move.source or own),
        "as_root": list(move.as_root),
        "missing": move.missing,
        "thorough": move.thorough,
        "settings": settings_request(backed_up(layout).deployment, secrets, facts),
        "identity": move.identity,
    }


def relocate_request(
    old: tuple[Deployment, Secrets],
    new: tuple[Deployment, Secrets],
    facts: dict[str, Any],
    move: Move,
    operator: str = "",
) -> dict[str, Any]:
    """The data for a store that moves: from that of the `old` deployment to that of the `new` one."""
    resources = {} if move.action == LOOK_STORE else _resources(old, new, facts, operator)
    layout = _layout(old[0], facts)
    own = asdict(access(*old))
    return {
        "action": move.action,
        **({} if move.action == LOOK_STORE else changing(old[0], facts, _what(new[0], move.action))),
        **_server(layout, old[1], facts),
        "target": own,
        "source": own,
        "to": _layout(new[0], facts).artifacts,
        "to_access": asdict(access(*new)),
        "without": old[0].backup.destination,
        "thorough": move.thorough,
        **resources,
    }


def ready(deployment: Deployment, facts: dict[str, Any]) -> list[Resource]:
    """What must be there before a backup can be made."""
    return schedule.ready(backed_up(_layout(deployment, facts)))


def backup_place(deployment: Deployment, facts: dict[str, Any]) -> str:
    """Where the backup goes that is made first."""
    return backed_up(_layout(deployment, facts)).deployment.backup.destination


def access(deployment: Deployment, secrets: Secrets) -> Access:
    """How the host reaches the deployment's bucket."""
    artifacts = deployment.artifacts
    if artifacts.credentials not in ("profile", "keys"):
        return Access(artifacts.region, artifacts.endpoint_url)
    keys = (secrets.aws_access_key_id, secrets.aws_secret_access_key, secrets.aws_session_token)
    return Access(artifacts.region, artifacts.endpoint_url, *keys)


def _server(layout: Layout, secrets: Secrets, facts: dict[str, Any]) -> dict[str, Any]:
    deployment = layout.deployment
    return {
        "deployment": deployment.name,
        "base": str(layout.base),
        "data": str(layout.data),
        "moves": str(layout.moves),
        "database": str(layout.database),
        "owner": layout.user,
        "destination": layout.artifacts,
        "service": to_json(server(layout)),
        "verify": verify_request(deployment, secrets, facts, "full", kill=False),
    }


def _resources(
    old: tuple[Deployment, Secrets], new: tuple[Deployment, Secrets], facts: dict[str, Any], operator: str
) -> dict[str, Any]:
    return {
        "resources": [to_json(one) for one in blueprint(*new, facts, operator)],
        "old_resources": [to_json(one) for one in blueprint(*old, facts, operator)],
    }


def _what(deployment: Deployment, action: str) -> str:
    words = {MOVE: "", RELOCATE: f" --to {deployment.artifacts.destination}", DELETE: " --delete-originals"}
    return f"move-artifacts {deployment.name}{words[action]}"


def _layout(deployment: Deployment, facts: dict[str, Any]) -> Layout:
    return Layout(deployment, PurePosixPath(facts["root"]["path"]))
