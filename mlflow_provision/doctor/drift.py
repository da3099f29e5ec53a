"""Is the host as the deployment file says? What setup would change is what differs."""

from __future__ import annotations

import re
from dataclasses import replace

from mlflow_provision import __version__
from mlflow_provision.agent.protocol import CHANGED, Result
from mlflow_provision.agent.resources import Resource
from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.finding import BAD, OK, SKIPPED, UNKNOWN, WARN, Finding, found
from mlflow_provision.errors import ExitCode, ProvisionError

MOST_SHOWN = 8  # resources that differ
_COPY = "deployment.toml"


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
    """Ask for the plan, and judge it."""
    from mlflow_provision.provision import plan

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
            f'`{_towards(wanted, runs)}`, or write version = "{runs}" into the deployment file',
            fix="",
        )
    differing: list[Result] = []
    try:
        for event in plan(case.reached, resources(case)):
            if isinstance(event, Result) and event.verdict == CHANGED:
                differing.append(event)
    except ProvisionError as error:
        if error.code is ExitCode.INTERRUPTED:
            raise
        if not _own(differing, case):
            return found("drift", UNKNOWN, error.message)
        found_so_far = _judged(_own(differing, case), str(applied.get("tool_version") or ""))
        return replace(found_so_far, evidence=f"{found_so_far.evidence}\nno further: {error.message}")
    return _judged(_own(differing, case), str(applied.get("tool_version") or ""))


def _towards(wanted: str, runs: str) -> str:
    """The command that leads from the version that runs to the one that is wanted."""
    old, new = (tuple(int(part) for part in re.findall(r"\d+", version)) for version in (runs, wanted))
    return f"mlflow-provision upgrade NAME --to {wanted}" if new > old else "mlflow-provision rollback NAME"


def _own(differing: list[Result], case: Case) -> list[Result]:
    """Without what other checks tell (a server that does not run), and the record, which tells only that something
    else changed."""
    stopped = bool(case.wrong("service-running"))
    return [one for one in differing if one.step != "record" and not (stopped and one.step == "service")]


def _judged(differing: list[Result], tool_version: str) -> Finding:
    if not differing:
        return found("drift", OK, "nothing differs")
    shown = [f"{one.title}: {one.summary}" for one in differing[:MOST_SHOWN]]
    if len(differing) > MOST_SHOWN:
        shown.append(f"… and {len(differing) - MOST_SHOWN} more")
    if tool_version and tool_version != __version__:
        cause = f"It was set up by mlflow-provision {tool_version}; this is {__version__}, which makes it differently."
        return found("drift", WARN, "\n".join(shown), cause)
    if [one.step for one in differing] == [_COPY]:
        cause = "Only the copy of the deployment file that backups take along is older: the server is as it should be."
        return found("drift", WARN, "\n".join(shown), cause)
    return found("drift", BAD, "\n".join(shown))
