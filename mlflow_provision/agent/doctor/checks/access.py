"""Does the server answer, to whom it should, and to nobody else? Asked the way its users ask."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Callable

from mlflow_provision.agent import running
from mlflow_provision.agent.doctor.checks import users
from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, ok
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.password_hash import matches
from mlflow_provision.agent.verify import access
from mlflow_provision.agent.verify.answers import BAD_HOST
from mlflow_provision.agent.verify.checks import Failed, ServerError, Skipped
from mlflow_provision.agent.verify.log import ServerLog

_FIRST_START = 40.0  # seconds; it takes ten where the processor is not busy
_STUCK = {
    "cause": "It said that it is well, and answers nothing any more: its worker is stuck, or has just died.",
    "remedy": "mlflow-provision logs NAME --errors; then mlflow-provision restart NAME",
}

_UNLOCKED = {
    "cause": "It runs without its login: somebody changed how it is started.",
    "remedy": "mlflow-provision doctor NAME --fix, or mlflow-provision setup NAME: both start it as it should be",
    "fix": "apply",
}


def health(patient: Patient) -> Finding:
    """The server says that it is well; one that has just been started is given its time."""
    reason = running.health(patient.server.url, timeout=10.0)
    while reason and _is_young(patient) and not patient.stopping():
        time.sleep(0.5)
        reason = running.health(patient.server.url, timeout=10.0)
    if not reason:
        return ok(f"{patient.server.url}/health answers 200")
    words = patient.journal.last_words(5)
    return bad(f"{patient.server.url}: {reason}" + (f"; its log ends with:\n{words}" if words else ""))


def _is_young(patient: Patient) -> bool:
    status = patient.service.status()
    return bool(status["running"]) and status["seconds"] < _FIRST_START


def host_check(patient: Patient) -> Finding:
    """It answers to its names, and refuses others."""
    allowed = patient.environment.get("MLFLOW_SERVER_ALLOWED_HOSTS", "MLflow's defaults")
    if not patient.server.hosts:
        raise Skip("it has no names")
    return _tried(
        patient, [lambda: access.hosts(patient.server), lambda: access.foreign_host(patient.server)], allowed=allowed
    )


def origin_check(patient: Patient) -> Finding:
    """Its own web page may write, those of others may not."""
    _unless_the_name_is_refused(patient)
    allowed = patient.environment.get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "MLflow's defaults")
    return _tried(
        patient,
        # Without a login: the origin is looked at first, and whoever passes is asked for one.
        [lambda: access.origins(patient.server, logged_in=False), lambda: access.foreign_origin(patient.server)],
        allowed=allowed,
    )


def login(patient: Patient) -> Finding:
    """Nobody gets in without a password, and the administrator with it."""
    _unless_the_name_is_refused(patient)
    open_door = _tried(patient, [lambda: access.anonymous(patient.server)])
    if open_door.verdict == "bad" and "got 200" in open_door.evidence:
        return replace(open_door, data={**_UNLOCKED, **open_door.data})
    if open_door.verdict != "ok" or not patient.server.password:
        if open_door.verdict == "ok":
            raise Skip("the administrator's password is not known on the operator's machine; strangers are refused")
        return open_door
    found = _tried(patient, [lambda: access.login(patient.server)])
    if found.verdict == "ok" or "got 401" not in found.evidence:
        return found
    return bad(f"the server refuses the password of {patient.server.username} (401){_why(patient)}")


def _unless_the_name_is_refused(patient: Patient) -> None:
    """The host check comes before all others on the server, too."""
    response = patient.server.client.anonymous().call("GET", "/api/2.0/mlflow/users/current")
    if response.status == 403 and BAD_HOST in response.text:
        raise Skip("not looked at, because the host check refuses even the server's own address")


def _why(patient: Patient) -> str:
    """What the database of users says about a login that failed."""
    name = patient.server.username
    known = {user.name: user for user in users.listed(patient)}
    if name not in known:
        return f": {patient.databases['basic_auth.db']} has no such user" if known else ""
    if not known[name].is_admin:
        return f": {name} is no administrator there any more"
    if matches(known[name].password_hash, patient.server.password):
        return ": it does fit the database, so the server uses another one, or must be restarted"
    return ": the one that is known here was changed on the server"


def _tried(patient: Patient, attempts: list[Callable[[], str]], **data: str) -> Finding:
    log = ServerLog(patient.server)
    said = []
    for attempt in attempts:
        try:
            said.append(attempt())
        except Skipped:
            continue
        except ServerError as reason:
            return bad(": ".join(part for part in (str(reason), log.last_exception()) if part), **data)
        except NoAnswer as reason:
            return bad(str(reason), **_STUCK, **data)
        except (Failed, ValueError, KeyError, TypeError) as reason:
            return bad(str(reason), **data)
    return ok("; ".join(said), **data)
