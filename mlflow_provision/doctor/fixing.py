"""What can be put right safely: files and permissions as setup makes them, the release, the service, timers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_provision.agent.protocol import Event
from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.absent import PathAbsent
from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.catalog import APPLY, CLOSE, MEND, REINSTALL, START
from mlflow_provision.doctor.drift import resources
from mlflow_provision.doctor.finding import Finding, amiss
from mlflow_provision.errors import ProvisionError

STAMP = "stamp"  # id of the resource that makes a release count as half installed


@dataclass(frozen=True)
class Treatment:
    """What is done about which findings. `resources` are made true as setup does it; none: nothing has to be."""

    findings: tuple[Finding, ...]
    resources: tuple[Resource, ...] = ()
    mend: tuple[str, ...] = ()  # checks whose findings the host puts right itself
    start: bool = False
    refused: str = ""  # why the resources cannot be made true now

    @property
    def empty(self) -> bool:
        return not (self.resources or self.mend or self.start)


def treatment(case: Case) -> Treatment:
    """What can be done about the findings of an examination; changes nothing."""
    curable = tuple(finding for finding in amiss(case.findings) if finding.fix and finding.fix != CLOSE)
    kinds = {finding.fix for finding in curable}
    wanted: list[Resource] = []
    refused = ""
    if kinds & {APPLY, REINSTALL}:
        try:
            wanted = _resources(case, REINSTALL in kinds)
        except ProvisionError as error:
            refused = error.message
            curable = tuple(finding for finding in curable if finding.fix not in (APPLY, REINSTALL))
    mend = tuple(dict.fromkeys(finding.check for finding in curable if finding.fix == MEND))
    # Among the resources is the service, which starts when it does not run.
    return Treatment(curable, tuple(wanted), mend, START in kinds and not wanted, refused)


def _resources(case: Case, reinstall: bool) -> list[Resource]:
    from mlflow_provision.preflight import problems
    from mlflow_provision.provision import refuse

    refuse(problems(case.deployment, case.facts, case.skew))
    if not case.keys_known:
        raise ProvisionError("the files on the host are made of secrets that are not here")
    found = resources(case)
    if not reinstall:
        return found
    _can_install(case)
    # Without its stamp a release is half installed, and installed again over itself: one that did not come from here
    # would take another path.
    release = next(one for one in found if one.id == "release")
    return [PathAbsent(STAMP, f"{_path_of(release)}/release.json"), *found]


def _can_install(case: Case) -> None:
    """What is broken goes on half working until it is restarted: it is not removed where nothing can take its place."""
    from mlflow_provision.blueprint import facts_request
    from mlflow_provision.host import answer

    index = answer(case.reached, "facts", {**facts_request(case.deployment), "release": ""})["index"]
    if index["error"]:
        raise ProvisionError(index["error"], index["hint"])


def _path_of(release: Resource) -> str:
    from mlflow_provision.agent.resources.release import Release

    if not isinstance(release, Release):
        raise TypeError("a release is a Release")
    return release.path


def planned(case: Case, chosen: Treatment) -> Iterator[Event]:
    """What making the resources true would change."""
    from mlflow_provision.provision import plan

    return plan(case.reached, chosen.resources)


def applied(case: Case, chosen: Treatment) -> Iterator[Event]:
    """Make them true."""
    from mlflow_provision.provision import apply_resources

    return apply_resources(case.reached, chosen.resources, case.deployment, case.facts, _what(case))


def mended(case: Case, checks: Sequence[str]) -> dict[str, str]:
    """Let the host put right what these checks found there; what it did, by check."""
    from mlflow_provision.blueprint.doctoring import mend_request
    from mlflow_provision.host import answer

    request: dict[str, Any] = mend_request(case.deployment, case.secrets, case.facts, list(checks))
    done: dict[str, str] = answer(case.reached, "doctor", request)["mended"]
    return done


def started(case: Case) -> dict[str, Any]:
    """Start the server, and wait until it is healthy: its status."""
    from mlflow_provision.provision import control

    return control(case.reached, "start", case.deployment)[0]


def _what(case: Case) -> str:
    return f"doctor {case.deployment.name} --fix"
