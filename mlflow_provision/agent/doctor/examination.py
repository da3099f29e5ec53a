"""Makes one check after the other. One that fails, hangs or says too much hides none of the others."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from importlib import import_module
from typing import Any, Callable

from mlflow_provision.agent import doctor
from mlflow_provision.agent.doctor.discretion import Discretion
from mlflow_provision.agent.doctor.finding import BAD, OK, SKIPPED, UNKNOWN, WARN, Finding, Skip
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.protocol import FAILED, AgentError, Event, Result, Start, in_words
from mlflow_provision.agent.protocol import OK as FINE
from mlflow_provision.agent.protocol import SKIPPED as NOT_TRIED

_LOOK = 0.1  # seconds between two looks at whether to stop
_VERDICTS = {OK: FINE, BAD: FAILED, WARN: FAILED, UNKNOWN: FAILED, SKIPPED: NOT_TRIED}
_WEIGHT = (OK, SKIPPED, WARN, UNKNOWN, BAD)
_NOTHING_HERE = "nothing of this deployment is on the host"


def examine(data: dict[str, Any], emit: Callable[[Event], None], stopping: Callable[[], bool]) -> list[dict[str, Any]]:
    """The findings of all checks, or of those in `data["only"]` and what they need."""
    patient = Patient(data, stopping)
    discretion = Discretion(patient)
    wanted = _wanted(data.get("only") or list(doctor.CHECKS))
    findings: dict[str, Finding] = {}
    answer = []
    for name, check in doctor.CHECKS.items():
        if name not in wanted:
            continue
        if stopping():
            raise AgentError("the examination was stopped", "run it again", "interrupted")
        emit(Start(name, name))
        began = time.monotonic()
        reason = _skipped(check, patient, findings, name)
        made = [discretion.applied(found) for found in ([reason] if reason else _made(check, patient))]
        findings[name] = max(made, key=lambda found: _WEIGHT.index(found.verdict))
        patient.verdicts[name] = findings[name].verdict
        seconds = round(time.monotonic() - began, 3)
        emit(Result(name, name, _VERDICTS[findings[name].verdict], seconds, findings[name].evidence))
        answer += [{"check": name, **asdict(found), "seconds": seconds} for found in made]
    return answer


def _wanted(names: list[str]) -> set[str]:
    """These, and those that they need."""
    found: set[str] = set()
    left = [name for name in names if name in doctor.CHECKS]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += doctor.CHECKS[name].needs
    return found


def _skipped(check: doctor.Check, patient: Patient, findings: dict[str, Finding], name: str) -> Finding | None:
    """Why this check is not made: what it builds on is broken, which has been said."""
    if not patient.installed and name != "service-installed":
        return Finding(SKIPPED, _NOTHING_HERE, {"because": "service-installed"})
    for need in check.needs:
        before = findings[need]
        if before.verdict in (BAD, UNKNOWN):
            return Finding(SKIPPED, f"not looked at, because {need} is {before.verdict}", {"because": need})
        if before.verdict == SKIPPED and "because" in before.data:
            return Finding(SKIPPED, before.evidence, before.data)
    return None


def _made(check: doctor.Check, patient: Patient) -> list[Finding]:
    """What a check finds in the time that it has."""
    outcome: list[list[Finding]] = []

    def attempt() -> None:
        outcome.append(_attempted(check, patient))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    deadline = time.monotonic() + check.seconds
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(_LOOK)
        if patient.stopping():
            raise AgentError("the examination was stopped", "run it again", "interrupted")
    return outcome[0] if outcome else [Finding(UNKNOWN, f"no answer within {check.seconds:.0f} s")]


def _attempted(check: doctor.Check, patient: Patient) -> list[Finding]:
    module, _, function = check.where.partition(".")
    try:
        look = getattr(import_module(f"mlflow_provision.agent.doctor.checks.{module}"), function)
        found = look(patient)
        return found if isinstance(found, list) else [found]
    except Skip as reason:
        return [Finding(SKIPPED, str(reason))]
    except AgentError as error:
        return [Finding(UNKNOWN, f"this could not be looked at: {error.message}")]
    except OSError as error:
        return [Finding(UNKNOWN, f"this could not be looked at: {in_words(error)}")]
    except Exception as error:  # a bug of ours in one check: the others are looked at all the same
        return [Finding(UNKNOWN, f"the check itself failed, a bug of ours: {type(error).__name__}: {error}"[:300])]
