"""The way back: the old server as it was, and nothing lost of what anybody wrote to ours."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_provision.agent import command, running
from mlflow_provision.agent.adoption import ROLLED_BACK, ROLLING_BACK
from mlflow_provision.agent.adoption.move import old_url
from mlflow_provision.agent.databases import contents
from mlflow_provision.agent.protocol import AgentError

if TYPE_CHECKING:
    from mlflow_provision.agent.resources.adopted_data import AdoptedData


def roll_back(data: AdoptedData) -> str:
    """Stop ours, bring the old server back, wait until it answers. Safe to repeat. Returns what was done, in words."""
    journal = data.journal
    noted = journal.read()
    if not noted:
        return "the old server was not touched"
    kept = str(noted.get("failed") or _new_folder(data)) if noted.get("served") else ""
    journal.write(ROLLING_BACK, failed=kept)
    _stop_ours(data)
    if kept:
        _set_aside(data, kept)
    else:
        _drop(data)
    Path(data.record).unlink(missing_ok=True)
    was = noted["was"]
    data.old_unit.bring_back(was)
    if was["active"]:
        _wait(data)
    journal.write(ROLLED_BACK, served=False)
    back = (
        "the old server runs again as before" if was["active"] else "the old server is as it was (it was not running)"
    )
    return back + (f"; what ours held is in {kept}" if kept else "")


def _stop_ours(data: AdoptedData) -> None:
    if os.path.exists(data.unit_file):
        command.run(["systemctl", "stop", data.unit])
    if not data.replaced and os.path.exists(data.unit_file):
        command.capture(["systemctl", "disable", "--quiet", data.unit])
        Path(data.unit_file).unlink(missing_ok=True)
        command.run(["systemctl", "daemon-reload"])


def _new_folder(data: AdoptedData) -> str:
    return data.journal.path("failed-" + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))


def _drop(data: AdoptedData) -> None:
    """Nobody has ever written to these copies."""
    contents.remove(data.database, data.auth_database)


def _set_aside(data: AdoptedData, folder: str) -> None:
    """Others may have written to ours: keep all of it."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for name, path in (("mlflow.db", data.database), ("basic_auth.db", data.auth_database)):
        for ending in ("", *contents.BESIDE):
            if os.path.exists(path + ending):
                os.rename(path + ending, f"{folder}/{name}{ending}")
    inside = data.artifacts.startswith(data.base + "/")
    if inside and os.path.isdir(data.artifacts) and not os.path.exists(f"{folder}/artifacts"):
        os.rename(data.artifacts, f"{folder}/artifacts")


def _wait(data: AdoptedData) -> None:
    try:
        running.wait_healthy(old_url(data.old), lambda: "", lambda: False)
    except AgentError as error:
        state = ""
        with contextlib.suppress(OSError):
            state = command.capture(["systemctl", "is-active", data.old["unit"]]).strip()
        raise AgentError(
            f"the old server was started again, but does not answer ({state or 'not active'}): {error.message}",
            f"see why: sudo journalctl -u {data.old['unit']} -n 50",
        ) from None
