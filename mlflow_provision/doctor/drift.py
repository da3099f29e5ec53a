"""Is the host as the deployment file says? What setup would change is what differs."""

from __future__ import annotations

from dataclasses import replace

from mlflow_provision import __version__
from mlflow_provision.agent.protocol import CHANGED, Result
from mlflow_provision.agent.resources import Resource
from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.finding import BAD, OK, SKIPPED, UNKNOWN, WARN, Finding, found
from mlflow_provision.errors import ExitCode, ProvisionError

MOST_SHOWN = 8  # resources that differ


def resources(case: Case) -> list[Resource]:
    """What the host should be like. The administrator's password stays as it is: an old secrets file must not bring an
    old one back."""
    from mlflow_provision import blueprint
    from mlflow_provision.host.program import operator

    secrets = case.secrets
    if case.facts["admin_exists"]:
        secrets = replace(secrets, admin_password="")
    return blueprint.blueprint(case.deployment, secrets, case.facts, operator())


def drift(case: Case) -> Finding:
    applied = case.facts.get("applied")
    if not applied:
        return found("drift", SKIPPED, "nothing was set up yet")
    if not case.keys_known:
        return found("drift", SKIPPED, "the files on the host are made of secrets that are not here")
    case.begin("drift")
    wanted, runs = case.deployment.mlflow.version, applied.get("mlflow_version")
    if runs and runs != wanted:
        return found(
            "drift",
            BAD,
            f"the deployment file says MLflow {wanted}, the server runs {runs}",
            "One of them was changed without the other; setup does not migrate databases.",
            f'`mlflow-provision upgrade NAME --to {wanted}`, or write version = "{runs}" into the deployment file',
            fix="",
        )
    try:
        differing = _differing(case)
    except ProvisionError as error:
        if error.code is ExitCode.INTERRUPTED:
            raise
        return found("drift", UNKNOWN, error.message)
    return _judged(differing, str(applied.get("tool_version") or ""), bool(case.wrong("service-running")))


def _differing(case: Case) -> list[Result]:
    from mlflow_provision.provision import plan

    events = plan(case.reached, resources(case))
    return [event for event in events if isinstance(event, Result) and event.verdict == CHANGED]


def _judged(differing: list[Result], tool_version: str, stopped: bool) -> Finding:
    # A server that does not run has a check of its own; the record tells only that something else changed.
    itself = [one for one in differing if one.step != "record" and not (stopped and one.step == "service")]
    if not itself:
        return found("drift", OK, "nothing differs")
    shown = [f"{one.title}: {one.summary}" for one in itself[:MOST_SHOWN]]
    if len(itself) > MOST_SHOWN:
        shown.append(f"… and {len(itself) - MOST_SHOWN} more")
    if tool_version and tool_version != __version__:
        cause = f"It was set up by mlflow-provision {tool_version}; this is {__version__}, which makes it differently."
        return found("drift", WARN, "\n".join(shown), cause)
    return found("drift", BAD, "\n".join(shown))
