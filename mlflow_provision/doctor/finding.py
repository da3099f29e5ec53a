"""What a check found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlflow_provision.doctor.catalog import CATALOG

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

OK = "ok"
BAD = "bad"
WARN = "warn"  # works, and should be looked at
SKIPPED = "skipped"  # there was nothing to look at, or something before it is broken
UNKNOWN = "unknown"  # the check itself could not be carried out
VERDICTS = (OK, BAD, WARN, SKIPPED, UNKNOWN)


@dataclass(frozen=True)
class Finding:
    """`evidence` is what was seen; `cause`, `remedy` and `fix` are empty where nothing is wrong."""

    check: str
    verdict: str
    evidence: str = ""
    cause: str = ""
    remedy: str = ""
    fix: str = ""  # how --fix mends it; empty: only a person can

    @property
    def title(self) -> str:
        return CATALOG[self.check].title

    @property
    def headline(self) -> str:
        """What is so, in a few words."""
        if self.verdict == UNKNOWN:
            return f"could not be checked: {self.title}"
        return CATALOG[self.check].wrong if self.verdict in (BAD, WARN) else self.title

    @property
    def group(self) -> str:
        return CATALOG[self.check].group

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "title": self.headline, "group": self.group}


def found(
    check: str, verdict: str, evidence: str = "", cause: str = "", remedy: str = "", fix: str | None = None
) -> Finding:
    """A finding; what is wrong gets its cause, remedy and fix from the catalog, where nothing closer is known."""
    if verdict not in (BAD, WARN):
        return Finding(check, verdict, evidence)
    entry = CATALOG[check]
    return Finding(
        check,
        verdict,
        evidence,
        cause or entry.row.why,
        remedy or entry.row.remedy,
        entry.fix if fix is None else fix,
    )


def addressed(finding: Finding, deployment: Deployment) -> Finding:
    """The same in words that can be typed for this deployment."""
    cause, remedy = (_addressed(text, deployment) for text in (finding.cause, finding.remedy))
    return Finding(finding.check, finding.verdict, finding.evidence, cause, remedy, finding.fix)


def _addressed(text: str, deployment: Deployment) -> str:
    if deployment.host == "local":
        text = text.replace("ssh HOST ", "").replace(" on the host", "")
    if profile := deployment.artifacts.profile:
        text = re.sub(r"\bPROFILE\b", lambda _: shlex.quote(profile), text)
    text = re.sub(r"\bADMIN\b", lambda _: deployment.auth.admin_username, text)
    text = re.sub(r"\bHOST\b", lambda _: deployment.host, text)
    return re.sub(r"\bNAME\b", lambda _: deployment.name, text)


def bad(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.verdict == BAD]


def amiss(findings: Iterable[Finding]) -> list[Finding]:
    """What is wrong, or should be looked at."""
    return [finding for finding in findings if finding.verdict in (BAD, WARN)]
