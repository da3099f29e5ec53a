"""Adopting a server that a shell script made, without printing: its settings, what stands in the way, the move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_provision import blueprint, preflight
from mlflow_provision.adoption.obstacles import impossible, no_credentials, problems, warnings
from mlflow_provision.adoption.reading import settings, summary, with_settings
from mlflow_provision.agent.adoption import UNFINISHED
from mlflow_provision.agent.protocol import Event
from mlflow_provision.agent.resources import to_json
from mlflow_provision.blueprint.adoption import adopting
from mlflow_provision.config import Deployment, Secrets, generate_password, password_problem
from mlflow_provision.deployment_keys import with_keys
from mlflow_provision.host import Host, answer
from mlflow_provision.host.program import operator
from mlflow_provision.provision import Facts, Prepared, look, refuse

__all__ = [
    "Adoption",
    "adopt",
    "impossible",
    "no_credentials",
    "prepare",
    "problems",
    "settings",
    "summary",
    "warnings",
    "with_old_password",
    "with_settings",
    "without_old",
]


@dataclass(frozen=True)
class Adoption:
    """Everything decided: what is taken over, and the resources that do it."""

    prepared: Prepared
    old: dict[str, Any]
    details: dict[str, Any] = field(repr=False)  # of the verb `old-server`
    notes: list[str]


def prepare(host: Host, deployment: Deployment, secrets: Secrets) -> Adoption:
    """Ask the host about the old server, decide what is open, and refuse at once with all that stands in the way.

    `deployment` already has the old server's settings. Nothing on the host changes.
    """
    facts, skew = look(host, deployment)
    old = facts["old_server"]
    refuse(list(impossible(deployment, facts)))
    request = {"old": old, "admin_password": secrets.admin_password}
    details = answer(host, "old-server", request)
    secrets, notes = with_old_password(deployment, secrets, details)
    if details["keys"] and deployment.artifacts.credentials == "keys" and not secrets.aws_access_key_id:
        secrets = replace(secrets, **details["keys"])
    deployment, secrets = with_keys(deployment, secrets)
    found = preflight.problems(deployment, without_old(facts, deployment), skew)
    refuse([*found, *problems(deployment, facts, details)])
    old_password = details["administrator"]["password"]
    resources = adopting(deployment, secrets, facts, operator(), summary(details, old), old_password)
    return Adoption(Prepared(deployment, secrets, facts, resources), old, details, [*notes, *warnings(deployment, old)])


def adopt(host: Host, adoption: Adoption, what: str) -> Iterator[Event]:
    """Move, start, verify, compare; or bring the old server back. The data of the last event: `changes`, `checks`,
    `adopted` (counts) and `backup` (a folder on the host)."""
    prepared = adoption.prepared
    data = {
        "resources": [to_json(resource) for resource in prepared.resources],
        "verify": blueprint.verify_request(prepared.deployment, prepared.secrets, prepared.facts),
        **blueprint.changing(prepared.deployment, prepared.facts, what),
    }
    return host.request("adopt", data)


def with_old_password(deployment: Deployment, secrets: Secrets, details: dict[str, Any]) -> tuple[Secrets, list[str]]:
    """The administrator keeps the old password. One that we would not take is replaced, by the one given or a new one;
    and a server without users gets its first one."""
    old = details["administrator"]["password"]
    if old and not password_problem(old):
        return (secrets if secrets.admin_password else replace(secrets, admin_password=old)), []
    notes = []
    if old:
        why = password_problem(old)
        notes.append(f"the old password of {deployment.auth.admin_username} {why}: the administrator gets another one")
    elif not details["administrator"]["username"]:
        notes.append(
            "the old server asked nobody for a password. Ours does: whoever uses it needs a user from then on, and the "
            "first one is the administrator"
        )
    return replace(secrets, admin_password=secrets.admin_password or generate_password()), notes


def without_old(facts: Facts, deployment: Deployment) -> Facts:
    """The facts as they will be once the old server has made room."""
    old, owner = facts["old_server"], facts["port_owner"]
    seen = dict(facts)
    if old["unit"] == f"mlflow-{deployment.name}.service":
        seen["unit"] = "absent"
    if owner and old["unit"] and owner["unit"] == old["unit"]:
        seen["port_owner"] = None
    if facts["adoption"] in UNFINISHED:
        seen["applied"] = None
    return seen
