"""The main job, without printing: from a `Deployment` to a verified server, one request to its host at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlflow_provision import blueprint, preflight
from mlflow_provision.agent.adoption import UNFINISHED
from mlflow_provision.agent.protocol import Event, Result
from mlflow_provision.agent.resources import Resource, to_json
from mlflow_provision.config import (
    DEFAULT_MLFLOW_VERSION,
    ENVIRONMENT,
    Deployment,
    Secrets,
    generate_password,
)
from mlflow_provision.deployment_keys import with_keys
from mlflow_provision.errors import ProvisionError
from mlflow_provision.host import Host, answer
from mlflow_provision.host.program import operator

LATEST = "latest"  # as an MLflow version: the newest that installs
Facts = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """Everything decided: what is wanted, what is there, and the resources that lead from one to the other."""

    deployment: Deployment
    secrets: Secrets
    facts: Facts
    resources: list[Resource]
    gave_way_to: str = ""  # the program that has the port we would have taken

    @property
    def first(self) -> bool:
        """Was nothing of this deployment applied before?"""
        return self.facts["applied"] is None


class AdoptionUnfinished(ProvisionError):
    """The adoption of an old server was interrupted: it must be finished, or undone, before anything else."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(
            f"the adoption of the old server into {deployment.name} was interrupted",
            f"finish it: mlflow-provision setup {deployment.name} --adopt",
        )


def prepare(
    host: Host, deployment: Deployment, secrets: Secrets, port_given: bool = True, artifacts_moved: bool = False
) -> Prepared:
    """Ask the host, decide what was left open, and make sure that nothing stands in the way: all problems at once."""
    if deployment.mlflow.version == LATEST:
        deployment = with_version(deployment, newest_version(host, deployment))
    facts, skew = look(host, deployment)
    if facts.get("adoption") in UNFINISHED:
        raise AdoptionUnfinished(deployment)
    gave_way_to = ""
    if deployment.host == "local" and not port_given and _taken_by_others(facts):
        gave_way_to = facts["port_owner"]["name"]
        deployment, facts = with_free_port(deployment, facts)
    refuse(preflight.problems(deployment, facts, skew, artifacts_moved))
    secrets = with_password(deployment, secrets, facts)
    resources = blueprint.blueprint(deployment, secrets, facts, operator())
    return Prepared(deployment, secrets, facts, resources, gave_way_to)


def inspected(host: Host, deployment: Deployment, secrets: Secrets) -> Prepared:
    """What is there, to be looked at and not changed."""
    facts, _ = look(host, deployment)
    if not secrets.admin_password:
        raise password_unknown(deployment)
    return Prepared(deployment, secrets, facts, [])


def look(host: Host, deployment: Deployment) -> tuple[Facts, float]:
    """The facts of the host, and by how many seconds its clock is ahead of ours."""
    before = time.time()
    facts = answer(host, "facts", blueprint.facts_request(deployment))
    return facts, facts["time"] - (before + time.time()) / 2


def newest_version(host: Host, deployment: Deployment) -> str:
    """The newest MLflow that installs, as the host sees the package index."""
    request = blueprint.facts_request(with_version(deployment, DEFAULT_MLFLOW_VERSION))
    index = answer(host, "facts", {**request, "release": ""})["index"]  # of no release: the index is asked in any case
    if not index["versions"]:
        reason = index["error"] or "the package index has none"
        raise ProvisionError(
            f"the newest MLflow is not known: {reason}", f"name one: --mlflow-version {DEFAULT_MLFLOW_VERSION}"
        )
    return str(index["versions"][0])


def instance_role(host: Host) -> tuple[str, str]:
    """The name of the host's instance role; or "", and the reason why it has none."""
    found = answer(host, "role", {})
    return found["role"], found["reason"]


def try_store(host: Host, deployment: Deployment, secrets: Secrets) -> None:
    """Can the host use the deployment's bucket? Nothing stays in either; afterwards the host can be asked again.

    Raises ProvisionError with all that is missing.
    """
    deployment, secrets = with_keys(deployment, secrets)
    artifacts = deployment.artifacts
    data = {
        "destination": artifacts.destination,
        "region": artifacts.region,
        "endpoint_url": artifacts.endpoint_url,
        "access_key_id": secrets.aws_access_key_id,
        "secret_access_key": secrets.aws_secret_access_key,
        "session_token": secrets.aws_session_token,
    }
    answer(host, "store", data)


def plan(host: Host, resources: Sequence[Resource]) -> Iterator[Event]:
    """What would change. Reads only."""
    return host.request("plan", {"resources": [to_json(resource) for resource in resources]})


def plan_or_look(host: Host, prepared: Prepared) -> Iterator[Event]:
    """What would change; and when nothing would, a quick look at the server in the same request: see `checks`."""
    look = blueprint.verify_request(prepared.deployment, prepared.secrets, prepared.facts, level="quick")
    return host.request("plan", {"resources": [to_json(resource) for resource in prepared.resources], "verify": look})


def checks(data: dict[str, Any]) -> list[Result]:
    """What the quick look found, from the data that ended the plan."""
    return [Result(**check) for check in data.get("checks", ())]


def apply(host: Host, prepared: Prepared, what: str) -> Iterator[Event]:
    """Make it so. `what` is told to whoever finds the host locked meanwhile."""
    return apply_resources(host, prepared.resources, prepared.deployment, prepared.facts, what)


def apply_resources(
    host: Host, resources: Sequence[Resource], deployment: Deployment, facts: Facts, what: str
) -> Iterator[Event]:
    data = {"resources": [to_json(resource) for resource in resources], **blueprint.changing(deployment, facts, what)}
    return host.request("apply", data)


def verify(host: Host, prepared: Prepared, level: str = "full", kill: bool = True) -> Iterator[Event]:
    """Prove that the server works. Only where systemd brings it back is it killed on purpose."""
    survives = kill and prepared.deployment.scope == "system"
    request = blueprint.verify_request(prepared.deployment, prepared.secrets, prepared.facts, level, survives)
    return host.request("verify", request)


def control(host: Host, verb: str, deployment: Deployment) -> tuple[dict[str, Any], Facts]:
    """Start, stop or restart the server, or ask for its status: the status, and the facts of its host."""
    facts, _ = look(host, deployment)
    service = to_json(blueprint.service(deployment, facts))
    data = {"service": service}
    if verb == "status":
        data["backup"] = blueprint.status_request(deployment, facts)
    else:
        data |= blueprint.changing(deployment, facts, f"{verb} {deployment.name}")
    status = answer(host, verb, data)
    if facts["upgrading"] and verb != "status":  # it has been taken back meanwhile: what was read then is not true now
        facts, _ = look(host, deployment)
        status["taken_back"] = not facts["upgrading"]
    return status, facts


def removal(host: Host, deployment: Deployment, delete_data: bool) -> tuple[list[Resource], Facts]:
    """The resources whose application leaves the host as it was."""
    facts, _ = look(host, deployment)
    return blueprint.removal(deployment, facts, delete_data), facts


def with_version(deployment: Deployment, version: str) -> Deployment:
    return replace(deployment, mlflow=replace(deployment.mlflow, version=version))


def with_free_port(deployment: Deployment, facts: Facts) -> tuple[Deployment, Facts]:
    """On one's own machine a port that nobody asked for gives way to whoever has it."""
    moved = replace(deployment, mlflow=replace(deployment.mlflow, port=facts["free_port"]))
    return moved, {**facts, "port_owner": None}


def _taken_by_others(facts: Facts) -> bool:
    return facts["port_owner"] is not None and not facts["port_owner"]["ours"]


def with_password(deployment: Deployment, secrets: Secrets, facts: Facts) -> Secrets:
    """A new server gets a strong password; that of an existing one cannot be made up."""
    if secrets.admin_password:
        return secrets
    if facts["admin_exists"]:
        raise password_unknown(deployment)
    return replace(secrets, admin_password=generate_password())


def password_unknown(deployment: Deployment) -> ProvisionError:
    return ProvisionError(
        f"the password of {deployment.auth.admin_username} on {deployment.name} is not known on this machine",
        f"copy {deployment.name}.secrets.toml from where it was set up, or set {ENVIRONMENT['admin_password']}",
    )


def refuse(problems: Sequence[preflight.Problem]) -> None:
    """One error that tells all problems, each with what to do about it."""
    if not problems:
        return
    if len(problems) == 1:
        raise ProvisionError(problems[0].message, problems[0].hint)
    lines = [f"{len(problems)} things stand in the way, and nothing was changed:"]
    for number, problem in enumerate(problems, 1):
        lines.append(f"{number}. {problem.message}")
        if problem.hint:
            lines.append(f"   {problem.hint}")
    raise ProvisionError("\n".join(lines), "mend these, then run the same command again")
