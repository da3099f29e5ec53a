"""Is there a service, does it run, and does it stay?"""

from __future__ import annotations

import os
import time
from pathlib import Path

from mlflow_provision.agent.doctor.finding import Finding, Skip, ago, bad, counted, ok, warn
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.names import SIGNATURE

_RECENT = 600.0  # seconds in which several restarts are a loop
_LOOP = 3
_STAYED = 45.0  # seconds: a start takes ten, and what fails at the start has failed by then
_DAY = 86400.0
_WORDS = 8  # lines of the server's last words
_OURS = ("upgrade.conf",)  # drop-ins that we make ourselves, for a while


def installed(patient: Patient) -> Finding:
    """Everything that starts the server is there."""
    if not patient.installed or not os.path.isfile(patient.data["state"]):
        return bad(f"there is no {patient.data['state']}: nothing was set up here, or it was removed", no_fix=True)
    script = patient.files["start_script"]
    if not os.access(script, os.X_OK):
        return bad(f"{script} is missing, or cannot be run", fix="apply")
    return _unit(patient) if patient.unit else ok(f"{script} (without root nothing starts it at boot)")


def _unit(patient: Patient) -> Finding:
    path, state = patient.files["unit_file"], patient.unit_state
    if os.path.islink(path) and os.path.realpath(path) == "/dev/null":
        return bad(
            f"{patient.unit} is masked: systemd refuses to start it",
            cause="Somebody ran `systemctl mask`.",
            remedy=f"Allow it again: sudo systemctl unmask {patient.unit}, then mlflow-provision setup NAME",
            no_fix=True,
        )
    if not os.path.isfile(path):
        return bad(f"{path} is missing", fix="apply")
    if SIGNATURE not in Path(path).read_text("utf-8", "replace"):
        return bad(f"{path} was not written by mlflow-provision", no_fix=True)
    if state["LoadState"] != "loaded":
        return bad(f"systemd cannot load {patient.unit}: {state['LoadState'] or 'it does not answer'}", fix="apply")
    if state["UnitFileState"] != "enabled":
        return bad(
            f"{patient.unit} is {state['UnitFileState'] or 'not enabled'}: it does not start at boot", fix="apply"
        )
    others = [item for item in state["DropInPaths"].split() if os.path.basename(item) not in _OURS]
    if others:
        return warn(
            f"{patient.unit} is changed by {', '.join(others)}",
            paths=others,
            cause="Somebody added settings to it (systemctl edit, systemctl set-property); a setup leaves them alone.",
            remedy=f"See them: systemctl cat {patient.unit}; take them away: sudo systemctl revert {patient.unit}",
            no_fix=True,
        )
    return ok(f"{patient.unit} is loaded, and starts at boot")


def running(patient: Patient) -> Finding:
    """It runs, or is being started; whether it stays up is another question."""
    status = patient.service.status()
    if status["running"]:
        return ok(
            f"{patient.service.title} has run for {ago(status['seconds']).removesuffix(' ago')}", **_numbers(status)
        )
    if not patient.unit:
        return bad(f"no server runs{_said(patient)}", fix="start")
    state = patient.unit_state
    if state["ActiveState"] in ("activating", "reloading"):
        return ok(f"{patient.unit} is {state['ActiveState']} ({state['SubState']})")
    words = f"{patient.unit} is {state['ActiveState'] or 'unknown'}{_since(state['InactiveEnterTimestampMonotonic'])}"
    if state["ActiveState"] == "inactive" and state["Result"] == "success":
        return bad(f"{words}: it was stopped", cause="Somebody stopped it, or it never was started.", fix="start")
    return bad(
        f"{words} (result: {state['Result']}){_said(patient)}",
        cause="It died, and its last words say why.",
        remedy="Read what came before: mlflow-provision logs NAME --errors; then mlflow-provision start NAME",
        fix="start",
    )


def looping(patient: Patient) -> Finding:
    """It does not die and come back again and again."""
    if not patient.unit:
        raise Skip("without root nothing restarts the server when it dies")
    now, state = time.time(), patient.unit_state
    counter = int(state["NRestarts"] or 0)
    times = [line.at for line in patient.journal.systemd if "Scheduled restart job" in line.text]
    recent = [at for at in times if at > now - _RECENT]
    workers = [line.at for line in patient.journal.server if line.at > now - _RECENT and _a_worker_died(line.text)]
    if state["SubState"] == "auto-restart" or (counter >= _LOOP and len(recent) >= _LOOP and not _stays(recent, now)):
        return bad(
            f"it has died {counted(max(counter, len(recent)), 'time')}, and is started again each time{_said(patient)}",
            restarts=counter,
        )
    if len(workers) >= _LOOP and not _stays(workers, now):
        return bad(
            f"its workers have died {counted(len(workers), 'time')} within 10 minutes, and are replaced each time"
            + _said(patient),
            workers=len(workers),
        )
    last_day = [at for at in times if at > now - _DAY]
    if counter and last_day:
        return warn(
            f"it has died {counted(counter, 'time')} since somebody started it, "
            f"the last time {ago(now - last_day[-1])}",
            restarts=counter,
        )
    return ok("it has not died" + (" within a day" if counter else ""), restarts=counter)


def _stays(deaths: list[float], now: float) -> bool:
    """Has it run for much longer by now than it did between the last deaths?"""
    pace = (deaths[-1] - deaths[0]) / (len(deaths) - 1)
    return now - deaths[-1] > max(_STAYED, 3 * pace)


def _a_worker_died(text: str) -> bool:
    return "Child process" in text and "died" in text


def _said(patient: Patient) -> str:
    """The last words of the server, on lines of their own."""
    words = patient.journal.last_words(_WORDS)
    return f"; it said:\n{words}" if words else ""


def _since(monotonic: str) -> str:
    moment = int(monotonic or 0) / 1e6
    return f" since {ago(time.monotonic() - moment)}".replace(" since ", ", ended ") if moment else ""


def _numbers(status: dict[str, object]) -> dict[str, object]:
    return {name: status[name] for name in ("pid", "seconds", "memory", "restarts")}
