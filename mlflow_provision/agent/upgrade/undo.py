"""The way back from an upgrade that failed or was interrupted: old databases, old files, old release, old server.

Four may take it: the upgrade itself, its watchdog, the server's own start (`at_start`), and the next command.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.audit import recorded
from mlflow_provision.agent.databases import switch
from mlflow_provision.agent.databases.journal import Journal
from mlflow_provision.agent.protocol import AgentError, Event
from mlflow_provision.agent.restore import aside
from mlflow_provision.agent.steps import Emit, step
from mlflow_provision.agent.upgrade import copying, drop_in, files, prepare
from mlflow_provision.agent.upgrade.journal import (
    PATIENCE,
    RETURNING,
    STOPPING,
    UNDOING,
    VERIFYING,
    holding,
    journal_in,
)
from mlflow_provision.agent.upgrade.wanted import service

HEALTHY, UNHEALTHY, STOPPED = "healthy", "unhealthy", "stopped"  # how the server was when it began


def undone(folder: str, emit: Emit) -> dict[str, Any]:
    """Go back from what was interrupted, for whoever comes next: `{"action", "from", "to", "state"}`; `action` is ""
    when nothing is half-way."""
    nothing = {"action": "", "from": "", "to": "", "state": "nothing is half-way"}
    journal = journal_in(folder)
    if not journal.read():
        return nothing
    with holding(journal, PATIENCE):
        noted = journal.read()
        if not noted:  # somebody else was faster
            return nothing
        state = go_back(folder, emit)
    return {"action": noted["action"], "from": noted["from"], "to": noted["to"], "state": state}


def go_back(folder: str, emit: Emit, starts: bool = True) -> str:
    """Bring back what was there when the unfinished upgrade began. Safe to repeat; the caller holds the journal.
    `starts`: whether the old server is ours to start; else it is being started already. Returns how things are."""
    noted = journal_in(folder).read()
    if not noted:
        return "nothing is half-way"
    with step(emit, "undo", f"back to MLflow {noted['from']['version']}") as told:
        told.summary = _gone_back(folder, noted, starts)
    return told.summary


def by(who: str, folder: str, starts: bool = True) -> None:
    """The same where nobody asks: the host's log says who it was."""
    noted = journal_in(folder).read()
    if not noted:
        return
    told: list[Event] = []
    failed = None
    try:
        go_back(folder, told.append, starts)
    except (AgentError, OSError) as error:
        failed = error
        if not starts:  # it is tried again twice a second
            raise
    what = f"go back from the interrupted {noted['action']} of {noted['deployment']}"
    with recorded({"audit": noted.get("audit"), "what": what}, who, lambda event: None) as emit:
        for event in told:
            emit(event)
        if failed:
            raise failed


def _gone_back(folder: str, noted: dict[str, Any], starts: bool) -> str:
    journal = journal_in(folder)
    server = service(noted["service"])
    if noted["phase"] not in (STOPPING, RETURNING):
        if noted["phase"] == VERIFYING:  # others may have written to the new databases
            noted["kept"] = f"{noted['old']}/failed"
        # First of all: a full disk may be why we go back.
        as_user(noted["owner"], lambda: copying.empty(noted["beside"]))
        _write(journal, UNDOING, kept=noted["kept"])
        if starts:
            server.stop(lambda: False)
        as_user(noted["owner"], lambda: switch.put_back(noted))
        files.put_back(noted["files"])
        _write(journal, RETURNING)
    drop_in.remove(noted["drop_in"])
    as_user(noted["owner"], lambda: copying.empty(noted["beside"]))
    Path(folder, prepare.CONFIG).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(f"{noted['entry']}/files")
    aside.remove_empty(noted["entry"], noted["old"])
    kept = noted["kept"] if os.path.isdir(noted["kept"]) else ""
    more = f"; what the new one held is in {kept}" if kept else ""
    try:
        return (_as_it_was(noted) if starts else "the databases and files are as they were") + more
    finally:
        # Also when it does not start: everything of it is back, and the next command shall not be kept from mending it.
        journal.end()


def _write(journal: Journal, phase: str, **more: Any) -> None:
    """A phase of the way back, where there is room for it. Else, who has to go back once more does more of it again."""
    with contextlib.suppress(OSError):
        journal.write(phase, **more)


def _as_it_was(noted: dict[str, Any]) -> str:
    if noted["was"] == STOPPED:
        return "the databases and files are as they were; the server is stopped, as it was"
    try:
        service(noted["service"]).start(lambda: False)
    except AgentError as error:
        if noted["was"] == HEALTHY:
            message = f"the old databases and files are back, but the old server does not start: {error.message}"
            raise AgentError(message, error.hint, error.kind) from None
        return "the databases and files are as they were; the server does not run well, as before"
    return f"the server runs again as before, with MLflow {noted['from']['version']}"
