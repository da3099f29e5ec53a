"""One deployment under examination: what is known of it, as far as the examination has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.doctor.catalog import CATALOG
from mlflow_provision.doctor.finding import Finding, addressed
from mlflow_provision.host import Host

# What keeps a server from answering; checks that need its answer are skipped after one of these.
_OF_THE_SERVER = ("service-installed", "service-running", "service-looping", "port-taken", "health")


@dataclass
class Case:
    """`look_at` is told the title of each check that begins."""

    deployment: Deployment
    path: Path  # of the deployment file; the secrets are beside it
    look_at: Callable[[str], None] = lambda title: None
    host: Host | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    skew: float = 0.0  # seconds by which the host's clock is ahead of ours
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    keys_known: bool = False  # are all keys here that the deployment's files on the host are made of?
    findings: list[Finding] = field(default_factory=list)

    @property
    def reached(self) -> Host:
        if self.host is None:
            raise RuntimeError("the host is not reached yet")
        return self.host

    def begin(self, check: str) -> None:
        self.look_at(CATALOG[check].title if check in CATALOG else check)

    def add(self, *findings: Finding) -> None:
        self.findings += [addressed(finding, self.deployment) for finding in findings]

    def wrong(self, *checks: str) -> list[Finding]:
        """What was found to be wrong with one of these."""
        return [finding for finding in self.findings if finding.check in checks and finding.verdict == "bad"]

    @property
    def server_answers(self) -> bool:
        return bool(self.facts.get("applied")) and not self.wrong(*_OF_THE_SERVER)
