"""A restore from its beginning to a server that runs with it, or back to the one that was there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from mlflow_provision.agent import way_back
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases import USERS, idle, switch
from mlflow_provision.agent.databases.journal import Journal
from mlflow_provision.agent.durable import duplicate
from mlflow_provision.agent.lock import held
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.file import replace
from mlflow_provision.agent.restore import aside, fetch, secrets_file
from mlflow_provision.agent.restore.journal import STARTING, STOPPING, SWITCHING, close_door, journal_in, open_door
from mlflow_provision.agent.restore.prepare import Prepared, Stopping, prepare
from mlflow_provision.agent.restore.rollback import HEALTHY, STOPPED, UNHEALTHY, roll_back
from mlflow_provision.agent.restore.safety import Safety, back_up
from mlflow_provision.agent.restore.wanted import Wanted
from mlflow_provision.agent.steps import Emit, step


def restore(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """Restore a backup, and go on with one that was killed. Whatever fails once the server was stopped, the old
    databases are back and it runs again before the error is told."""
    journal = journal_in(wanted.folder)
    noted = journal.read()
    goes_on = noted.get("phase") == STARTING and wanted.id in ("", noted["id"])
    aside.make_folders(wanted)
    if noted and not goes_on:
        with held(idle.lock_of_backups(wanted.settings.state, wanted.owner), operator, f"restore {wanted.deployment}"):
            _undone(wanted, emit, "what was interrupted")
    if not goes_on:
        try:
            prepared = prepare(wanted, operator, emit, stopping)
            safety = back_up(wanted, prepared.manifest.id, operator, emit, stopping)
        except BaseException:
            as_user(wanted.owner, lambda: fetch.clean(wanted))
            raise
    try:
        with held(idle.lock_of_backups(wanted.settings.state, wanted.owner), operator, f"restore {wanted.deployment}"):
            stopped = time.monotonic()
            if not goes_on:
                _replace(wanted, prepared, safety, emit)
            checks = _start(wanted, journal, emit, stopping, stopped)
    except BaseException as error:
        if not journal.phase:
            as_user(wanted.owner, lambda: fetch.clean(wanted))
            raise
        raise _failed(wanted, error, emit) from None
    noted = journal.read()
    journal.end(f"{noted['aside']}/{aside.RESTORED}")
    as_user(wanted.owner, lambda: fetch.clean(wanted))
    aside.forget_older(wanted, noted["aside"])
    return {**noted["answer"], "seconds_down": noted["seconds_down"], "checks": checks}


def undo(wanted: Wanted, operator: str, emit: Emit) -> dict[str, Any]:
    """Go back to what was there before a restore that was interrupted."""
    noted = journal_in(wanted.folder).read()
    if not noted:
        as_user(wanted.owner, lambda: fetch.clean(wanted))
        hint = "to go back to an earlier state, restore its backup: mlflow-provision backup list"
        raise AgentError("no restore is half-way", hint, "none")
    with held(
        idle.lock_of_backups(wanted.settings.state, wanted.owner), operator, f"restore {wanted.deployment} --undo"
    ):
        return {"id": noted["id"], "state": _undone(wanted, emit, f"the restore of {noted['id']}")}


def _replace(wanted: Wanted, prepared: Prepared, safety: Safety, emit: Emit) -> None:
    """From a server that runs to one that stands still with the restored databases."""
    journal = journal_in(wanted.folder)
    noted = _noted(wanted, prepared, safety)
    with step(emit, "switch", "databases replaced") as told:
        journal.write(STOPPING, **noted)
        wanted.service.stop(lambda: False)
        idle.wait(list(noted["live"].values()))
        close_door(wanted.folder)
        journal.write(SWITCHING)
        as_user(wanted.owner, lambda: switch.switch(noted, wanted.beside))
        _put_secrets(noted, prepared.secrets)
        journal.write(STARTING)
        told.summary = f"the old ones are in {noted['old']}" if any(noted["had"].values()) else "there were none"


def _noted(wanted: Wanted, prepared: Prepared, safety: Safety) -> dict[str, Any]:
    manifest = prepared.manifest
    folder, old = aside.make_aside(wanted, manifest.id)
    live = {name: wanted.live[name] for name in prepared.names}
    had = as_user(wanted.owner, lambda: {name: os.path.lexists(path) for name, path in live.items()})
    secrets = "same"
    if secrets_file.differs(wanted.secrets_env, prepared.secrets):
        secrets = "replaced" if os.path.exists(wanted.secrets_env) else "made"
    if os.path.exists(wanted.secrets_env):
        duplicate(wanted.secrets_env, f"{folder}/secrets.env")
    status = wanted.service.status()
    was = HEALTHY if status["healthy"] else UNHEALTHY if status["running"] or status["problem"] else STOPPED
    answer = {
        "id": manifest.id,
        "made": manifest.started,
        "mlflow_version": manifest.mlflow_version,
        "rows": manifest.rows,
        "migrated": prepared.migrated,
        "artifacts": prepared.artifacts,
        "keeps_users": USERS not in manifest.rows and USERS not in prepared.names,
        "safety": safety.backup,
        "no_safety": safety.why,
        "aside": folder if any(had.values()) else "",
        "was": was,
    }
    return {
        "id": manifest.id,
        "was": was,
        "aside": folder,
        "old": old,
        "live": live,
        "had": had,
        "kept": "",
        "secrets": secrets,
        "secrets_env": wanted.secrets_env,
        "answer": answer,
        "seconds_down": 0.0,
    }


def _start(wanted: Wanted, journal: Journal, emit: Emit, stopping: Stopping, stopped: float) -> list[dict[str, Any]]:
    from mlflow_provision.agent.verify import passed

    open_door(wanted.folder)
    with step(emit, "start", wanted.service.title) as told:
        wanted.service.start(stopping)
        seconds = time.monotonic() - stopped
        told.summary = f"it was down for {seconds:.0f} s"
        journal.write(STARTING, seconds_down=round(seconds, 1))
    otherwise = "the server does not pass its verification with what was restored"
    return passed(wanted.verify, emit, stopping, otherwise)


def _put_secrets(noted: dict[str, Any], restored: str) -> None:
    if noted["secrets"] == "same":
        return
    path = noted["secrets_env"]
    model = Path(path) if os.path.exists(path) else Path(path).parent
    text = secrets_file.merged(path, restored)
    mode = model.stat().st_mode & 0o640 if model.is_file() else 0o640
    if os.geteuid() == 0:
        replace(path, text, mode, model.owner(), model.group())
    else:
        replace(path, text, 0o600)


def _undone(wanted: Wanted, emit: Emit, what: str) -> str:
    with step(emit, "undo", f"undoing {what}") as told:
        told.summary = roll_back(wanted)
    return told.summary


def _failed(wanted: Wanted, error: BaseException, emit: Emit) -> AgentError:
    """The error that ends the request, after the way back; it says how things stand."""
    again = "run the same command again: it goes on undoing first"
    return way_back.gone(error, lambda: _undone(wanted, emit, "the restore"), again)
