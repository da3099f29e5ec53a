"""The move itself: everything that needs the old server to stand still, and as little else as possible."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from mlflow_provision.agent import processes
from mlflow_provision.agent.adoption import (
    MOVING,
    STARTING,
    STOPPING,
    files,
    find,
    migration,
    places,
    readable,
)
from mlflow_provision.agent.databases import contents
from mlflow_provision.agent.http import Client
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import ownership
from mlflow_provision.agent.resources.file import replace

if TYPE_CHECKING:
    from mlflow_provision.agent.resources.adopted_data import AdoptedData
    from mlflow_provision.agent.resources.base import Context

INVENTORY = "inventory.json"
_PATIENCE = 15.0  # seconds for the last process to close the database


def move(data: AdoptedData, context: Context) -> None:
    """Look, copy what can be copied while it runs, stop, back up, copy, migrate, compare."""
    journal, old = data.journal, data.old
    live = find.running(old) is not None
    moves = places.moves_of(old, live)
    shown = _shown_by_the_old_one(data, context) if live else None
    copied = _copied(data, moves, {}, context)
    migration.prepare(data, context)
    state = data.old_unit.state()
    environment = find.environment_of(old)
    context.output("stopping the old server")
    journal.make()
    data.old_unit.save()
    journal.write(STOPPING, old=old, was=state, unit=data.unit, unit_file=data.unit_file, served=False, failed="")
    data.old_unit.stop()
    _nobody_writes(old)
    journal.write(MOVING)
    context.output("backing up its databases")
    backups = _back_up(data)
    _copy_databases(data, backups)
    with contents.reading(backups["tracking"]) as connection:  # somebody may have begun something new meanwhile
        moves = places.moves(connection, old)
    copied = _copied(data, moves, copied, context)
    if moves and data.artifacts:
        places.rename_all(data.database, moves, old["folder"])
    migration.migrate(data, bool(backups.get("auth")), context)
    _compare(data, backups)
    migration.keep_passphrase(data, environment)
    _hand_over(data)
    counted = {**_counted(backups), "artifacts": len(copied)}
    before = _expected(backups["tracking"], shown)
    journal.keep(INVENTORY, {"before": before, "copied": copied, "counts": counted})
    data.old_unit.retire(data.replaced)
    # From here on others may write to ours.
    journal.write(STARTING, served=True)


def _shown_by_the_old_one(data: AdoptedData, context: Context) -> dict[str, Any]:
    """What its own API shows."""
    old = data.old
    username = data.username if old["auth"]["on"] else ""
    client = Client(old_url(old), username, data.password if username else "")
    context.output("listing what it shows")
    try:
        at = time.time()
        shown = readable.with_artifacts(client, readable.readable(client, context.stopping), context.stopping)
        return {**shown, "at": at}
    except readable.Unreadable as error:
        raise AgentError(
            f"the old server cannot be read through its own API: {error}",
            f"see why: sudo journalctl -u {old['unit']} -n 50; or stop it first, then adopt it from its files: "
            f"sudo systemctl stop {old['unit']}",
        ) from None


def _expected(backup: str, shown: dict[str, Any] | None) -> dict[str, Any]:
    """What ours must show: what the old one showed, if it was not deleted before it stopped, and what was begun
    between the two. Of a server that was not running: all that its database holds."""
    with contents.reading(backup) as connection:
        held = contents.held(connection)
        if shown is None:
            return held
        begun = set(contents.runs_since(connection, shown["at"]))
    runs = {run: counts for run, counts in held["runs"].items() if run in shown["runs"] or run in begun}
    experiments = {number: name for number, name in held["experiments"].items() if number in shown["experiments"]}
    models = [name for name in held["models"] if name in shown["models"]]
    artifacts = {run: files for run, files in shown["artifacts"].items() if run in runs}
    files = {name: digest for name, digest in shown["files"].items() if name.partition("/")[0] in runs}
    return {"experiments": experiments, "runs": runs, "models": models, "artifacts": artifacts, "files": files}


def old_url(old: dict[str, Any]) -> str:
    """Where this host itself reaches the old server."""
    listen = old["listen"]
    name = "127.0.0.1" if listen in ("0.0.0.0", "localhost", "") else "[::1]" if listen == "::" else listen  # noqa: S104
    return f"http://{f'[{name}]' if ':' in name and not name.startswith('[') else name}:{old['port']}"


def _copied(data: AdoptedData, moves: places.Moves, known: files.Manifest, context: Context) -> files.Manifest:
    if not data.artifacts:
        return {}
    return files.copy(moves, data.artifacts, data.owner, data.old["user"], known, context.output, context.stopping)


def _nobody_writes(old: dict[str, Any]) -> None:
    """A database that somebody else has open would be copied half-way through their writing."""
    paths = [path for path in (old["database"], old["auth"].get("database", "")) if path]
    deadline = time.monotonic() + _PATIENCE
    while True:
        holders = processes.who_has_open(paths)
        if not holders:
            return
        if time.monotonic() > deadline:
            names = ", ".join(processes.name(pid) for pid in holders)
            raise AgentError(
                f"the old server is stopped, but its database is still used by {names}",
                f"end what uses it, then run the same command again: sudo fuser -v {old['database']}",
            )
        time.sleep(0.2)


def _back_up(data: AdoptedData) -> dict[str, str]:
    """Complete copies of both databases, to be kept; with their sums, for `sha256sum --check`."""
    journal, auth = data.journal, data.old["auth"].get("database", "")
    backups = {"tracking": journal.path("mlflow.db")}
    sums = [f"{contents.take(data.old['database'], backups['tracking'])}  mlflow.db"]
    if auth and os.path.exists(auth):
        backups["auth"] = journal.path("basic_auth.db")
        sums.append(f"{contents.take(auth, backups['auth'])}  basic_auth.db")
    replace(journal.path("SHA256SUMS"), "".join(line + "\n" for line in sums), 0o600)
    return backups


def _copy_databases(data: AdoptedData, backups: dict[str, str]) -> None:
    for name, target in (("tracking", data.database), ("auth", data.auth_database)):
        contents.remove(target)
        if name in backups:
            beside = f"{target}.partial"
            shutil.copyfile(backups[name], beside)
            ownership.settle(beside, 0o600, data.owner, data.owner)
            os.replace(beside, target)


def _compare(data: AdoptedData, backups: dict[str, str]) -> None:
    """Every row of the old databases is in ours."""
    found = contents.differences(backups["tracking"], data.database)
    if "auth" in backups:
        found += contents.differences(backups["auth"], data.auth_database)
    if found:
        raise AgentError("the copied databases are not what the old ones were: " + "; ".join(found))


def _counted(backups: dict[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in backups.values():
        with contents.reading(path) as connection:
            found.update(contents.counts(connection))
    return found


def _hand_over(data: AdoptedData) -> None:
    """What MLflow's migration or ours left beside the databases belongs to the service user, and to nobody else."""
    for path in (data.database, data.auth_database):
        for ending in ("", *contents.BESIDE):
            if os.path.exists(path + ending):
                ownership.settle(path + ending, 0o600, data.owner, data.owner)
