"""Has something been begun and never ended?"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from mlflow_provision.agent.doctor.finding import Finding, Skip, ago, bad, ok
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.names import GUARD, UPGRADING


def restore(patient: Patient) -> Finding:
    """No restore and no adoption is half-way."""
    from mlflow_provision.agent import adoption

    journal, guard = f"{patient.data['kept']}/restore.json", f"{patient.data['kept']}/{GUARD}"
    phase = adoption.load(f"{patient.base}/{adoption.FOLDER}/{adoption.JOURNAL}").get("phase", "")
    if not os.path.exists(journal) and not os.path.exists(guard) and phase not in adoption.UNFINISHED:
        return ok("no restore is half-way")
    _unless_at_work(patient)
    if phase in adoption.UNFINISHED:
        return bad(
            f"the adoption of an old server was interrupted while {phase}",
            cause="The connection broke, or the host went down, in the middle of it.",
            remedy="Finish it: mlflow-provision setup NAME --adopt",
            no_fix=True,
        )
    noted = _read(journal)
    which = f"the restore of {noted['id']}" if noted.get("id") else "a restore"
    door = "; the server does not start meanwhile" if os.path.exists(guard) else ""
    return bad(f"{which} was interrupted while {noted.get('phase', 'under way')}{_since(noted)}{door}", no_fix=True)


def upgrade(patient: Patient) -> Finding:
    """No upgrade and no rollback is half-way."""
    path = f"{patient.data['kept']}/{UPGRADING}"
    if not os.path.exists(path):
        return ok("no upgrade is half-way")
    _unless_at_work(patient)
    noted = _read(path)
    what = f"the {noted.get('action') or 'upgrade'} to {_version(noted)}"
    return bad(f"{what} was interrupted while {noted.get('phase', 'under way')}{_since(noted)}", no_fix=True)


def move(patient: Patient) -> Finding:
    """No move of artifacts is half-way."""
    path = f"{patient.base}/moves/journal.json"
    if not os.path.exists(path):
        return ok("no move of artifacts is half-way")
    _unless_at_work(patient)
    return bad("a move of artifacts was interrupted: the database may name places that nobody has proved", no_fix=True)


def rotation(patient: Patient) -> Finding:
    """No rotation of the server's secrets is half-way."""
    secrets = patient.files["secrets_env"]
    left = [path for path in (f"{secrets}.next", f"{secrets}.old") if os.path.exists(path)]
    if not left:
        return ok("no rotation of its secrets is half-way")
    _unless_at_work(patient)
    return bad(f"a rotation of the server's secrets was interrupted: {' and '.join(left)} are left", no_fix=True)


def _unless_at_work(patient: Patient) -> None:
    """Whoever works on it right now holds the lock of the host."""
    try:
        descriptor = os.open(patient.data["host_lock"], os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _read(patient.data["host_lock"])
        raise Skip(f"{holder.get('operator', 'somebody')} works on it right now: {holder.get('what', '?')}") from None
    finally:
        os.close(descriptor)


def _read(path: str) -> dict[str, Any]:
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _since(noted: dict[str, Any]) -> str:
    since = noted.get("since")
    return f" ({ago(time.time() - since)})" if isinstance(since, (int, float)) else ""


def _version(noted: dict[str, Any]) -> str:
    target = noted.get("to")
    return str(target.get("version", "?")) if isinstance(target, dict) else str(target or "another version")
