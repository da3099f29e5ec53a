"""What the host finds out about itself: one request, many findings."""

from __future__ import annotations

from typing import Any

from mlflow_provision.agent.protocol import Done, Start
from mlflow_provision.doctor import certificate
from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.catalog import CATALOG
from mlflow_provision.doctor.finding import BAD, OK, SKIPPED, UNKNOWN, VERDICTS, WARN, Finding, found
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.preflight import CLOCK_LIMIT

CLOCK_NOTABLE = 60.0  # seconds


def of_the_host(case: Case) -> list[Finding]:
    """Ask the agent, and judge what only this side can."""
    from mlflow_provision.blueprint.doctoring import doctor_request

    answer: dict[str, Any] = {}
    try:
        for event in case.reached.request("doctor", doctor_request(case.deployment, case.secrets, case.facts)):
            if isinstance(event, Start):
                case.begin(event.step)
            elif isinstance(event, Done):
                answer = event.data
    except ProvisionError as error:
        if error.code is ExitCode.INTERRUPTED:
            raise
        return [found("service-installed", UNKNOWN, f"the host could not be examined: {error.message}")]
    return [_finding(raw) for raw in answer.get("findings", ())]


def _finding(raw: dict[str, Any]) -> Finding:
    check, verdict = raw["check"], raw["verdict"]
    data = raw.get("data") or {}
    if check not in CATALOG or verdict not in VERDICTS:
        raise ProvisionError(f"the host answers with {check!r}: {verdict!r}", "update mlflow-provision")
    if check == "certificate" and data.get("der") and verdict not in (BAD, WARN):
        return certificate.judged(data)
    fix = "" if data.get("no_fix") else data.get("fix")
    return found(check, verdict, raw.get("evidence", ""), data.get("cause", ""), data.get("remedy", ""), fix)


def clocks(case: Case) -> Finding:
    """The host's clock and ours, compared while it told its facts."""
    if case.deployment.host == "local":
        return found("clock-operator", SKIPPED, "they are the same")
    skew = case.skew
    off = f"the host's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    verdict = BAD if abs(skew) > CLOCK_LIMIT else WARN if abs(skew) > CLOCK_NOTABLE else OK
    return found("clock-operator", verdict, off if verdict != OK else f"{abs(skew):.1f} s apart")
