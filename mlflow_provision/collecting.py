"""What was deleted on a server goes for good: asked of its host, without printing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_provision.agent.adoption import UNFINISHED
from mlflow_provision.agent.protocol import Event
from mlflow_provision.blueprint.collecting import gc_crontab_line, gc_request
from mlflow_provision.config import Deployment
from mlflow_provision.config.rules.gc import age_problem
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host
from mlflow_provision.provision import AdoptionUnfinished, Facts, look

Report = dict[str, Any]  # what may go, or has gone; docs/commands.md explains every field


@dataclass(frozen=True)
class Reached:
    """A deployment whose host was asked. `older_than`: a length of time such as 30d; "": as its file says."""

    host: Host
    deployment: Deployment
    facts: Facts
    older_than: str
    orphans: bool
    sole_user: bool

    @property
    def age(self) -> str:
        return self.older_than or self.deployment.gc.older_than

    def request(self, action: str, **choices: Any) -> Iterator[Event]:
        data = gc_request(
            self.deployment,
            self.facts,
            action,
            self.older_than,
            orphans=self.orphans,
            sole_user=self.sole_user,
            **choices,
        )
        return self.host.request("gc", data)


def reach(
    host: Host, deployment: Deployment, older_than: str = "", orphans: bool = False, alone: bool = False
) -> Reached:
    """Ask the host of a deployment that is set up. `orphans`: with folders that belong to nothing; `alone`: no other
    server uses the place of the artifacts, even if it looks so. Raises ProvisionError."""
    if older_than and (problem := age_problem(older_than)):
        raise ProvisionError(f"--older-than: {problem}", code=ExitCode.USAGE)
    facts, _ = look(host, deployment)
    if facts.get("adoption") in UNFINISHED:
        raise AdoptionUnfinished(deployment)
    if facts["applied"] is None:
        raise ProvisionError(
            f"{deployment.name} is not set up on {deployment.host}: there is nothing to remove",
            f"set it up: mlflow-provision setup {deployment.name}",
        )
    return Reached(host, deployment, facts, older_than, orphans, alone)


def found(reached: Reached) -> Iterator[Event]:
    """What may go, counted in the store itself. Nothing is changed."""
    return reached.request("look")


def collected(reached: Reached, report: Report) -> Iterator[Event]:
    """Remove what the report has told, and nothing that was deleted since."""
    return reached.request("collect", before=report["before"])


def crontab_line(reached: Reached) -> str:
    """Without systemd: the line that removes by schedule; "" where there is none."""
    return gc_crontab_line(reached.deployment, reached.facts)


def anything(report: Report) -> bool:
    """Is there something to remove?"""
    return bool(report["experiments"]) or bool(report["orphans"] and report["orphans"]["folders"])
