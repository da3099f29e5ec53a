"""An upgrade, or a rollback, from its beginning to a server that runs with it, or back to the one that was there."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from typing import Any, Iterator

from mlflow_provision.agent import way_back
from mlflow_provision.agent.apply import apply
from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases import USERS, idle, migration, switch
from mlflow_provision.agent.lock import held
from mlflow_provision.agent.protocol import AgentError, words
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.steps import Emit, step
from mlflow_provision.agent.upgrade import copies, drop_in, files, history, look, lost, prepare, safety, undo
from mlflow_provision.agent.upgrade.copies import Copied, Migrate
from mlflow_provision.agent.upgrade.copying import Stopping
from mlflow_provision.agent.upgrade.journal import STARTING, STOPPING, SWITCHING, VERIFYING, holding, journal_in
from mlflow_provision.agent.upgrade.wanted import Wanted, service
from mlflow_provision.agent.upgrade.watchdog import watched


@dataclass(frozen=True)
class _Plan:
    """`sources`: the databases that the release will work with; `old`: those of them that an upgrade had replaced;
    `entry`: that upgrade, {} where none is undone."""

    action: str
    sources: dict[str, str]
    old: dict[str, str]
    entry: dict[str, Any]


def upgrade(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """To another version, with today's databases. Whatever fails once the server was stopped, the old databases are
    back bit for bit and the old release runs before the error is told."""
    prepare.refuse(wanted)
    plan = _Plan(history.UPGRADE, copies.there(wanted.live, wanted.owner), {}, {})
    return _changed(wanted, plan, f"before upgrading to {wanted.version}", operator, emit, stopping)


def roll_back(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """To an older version, with today's databases where they fit it, else with those that an upgrade has replaced."""
    prepare.refuse(wanted)
    entry = _entry(wanted)
    live = copies.there(wanted.live, wanted.owner)
    old = look.goes_back(entry, copies.revisions(live, wanted.owner))
    there = copies.there(old, wanted.owner)
    for name in old:
        if name not in there:
            hint = f"restore the backup that was made then: mlflow-provision restore {wanted.deployment}"
            raise AgentError(f"{old[name]}, the database of then, is gone", hint)
    gone = lost.since(old, live, wanted.owner) if old else {}
    plan = _Plan(history.ROLLBACK, {**live, **old}, old, entry)
    answer = _changed(wanted, plan, f"before rolling back to {wanted.version}", operator, emit, stopping)
    return {**answer, "data": "old" if old else "kept", "lost": gone}


def _entry(wanted: Wanted) -> dict[str, Any]:
    targets = [entry for entry in history.entries(wanted.base) if entry["target"]]
    found = next((entry for entry in targets if wanted.entry in ("", entry["id"])), None)
    if not found:
        hint = f"see which there are: mlflow-provision rollback {wanted.deployment}"
        raise AgentError("there is no such upgrade to go back from", hint, "none")
    return found


def _changed(wanted: Wanted, plan: _Plan, reason: str, operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    with prepare.config(wanted) as config:
        try:
            rehearsed = prepare.on_copies(wanted, config, plan.sources, emit, stopping)
            backup = safety.back_up(wanted, reason, operator, emit, stopping)
        except AgentError as error:
            state = f"Nothing was changed: {wanted.deployment} stays with MLflow {prepare.current(wanted)['version']}"
            raise AgentError(f"{error.message}\n{state}", error.hint, error.kind) from None
        journal = journal_in(wanted.folder)
        with contextlib.ExitStack() as stack:
            stack.enter_context(holding(journal))
            lock = idle.lock_of_backups(wanted.backups.state, wanted.owner)
            stack.enter_context(held(lock, operator, f"{plan.action} {wanted.deployment}"))
            # After the locks, which it holds as long as it lives.
            stack.enter_context(watched(lambda: undo.by("the watchdog", wanted.folder)))
            migrate = stack.enter_context(_migration(wanted, config, rehearsed, stopping))
            try:
                noted = _begun(wanted, plan, backup)
                answer = _done(wanted, plan, noted, config, migrate, emit, stopping)
            except BaseException as error:
                raise _failed(wanted, error, emit) from None
    return {**answer, "removed": _tidied(wanted, plan, noted)}


@contextlib.contextmanager
def _migration(wanted: Wanted, config: str, rehearsed: Copied, stopping: Stopping) -> Iterator[Migrate]:
    """What migrates the databases while nothing serves: begun before the server is stopped, where it will be needed."""
    if rehearsed.migrated:
        with migration.ready(wanted.release, config, stopping) as migrate:
            yield migrate
    else:
        yield lambda owner, tracking, users: migration.migrate(wanted.release, config, owner, tracking, users, stopping)


def _begun(wanted: Wanted, plan: _Plan, backup: str) -> dict[str, Any]:
    """From here on there is a journal, with all that the way back needs."""
    as_user(wanted.owner, lambda: os.makedirs(wanted.beside, mode=0o700, exist_ok=True))
    entry, old = history.make(wanted.base, wanted.data, wanted.beside, wanted.owner)
    status = service(wanted.service).status()
    was = undo.HEALTHY if status["healthy"] else undo.STOPPED
    if was == undo.STOPPED and (status["running"] or status["problem"]):
        was = undo.UNHEALTHY
    live = {name: wanted.live[name] for name in plan.sources}
    noted = {
        "id": os.path.basename(entry),
        "action": plan.action,
        "deployment": wanted.deployment,
        "from": {**prepare.current(wanted), "schema": copies.revisions(live, wanted.owner)},
        "to": {"version": wanted.version, "release": os.path.basename(wanted.release)},
        "undoes": plan.entry.get("id", ""),
        "entry": entry,
        "old": old,
        "live": live,
        "had": as_user(wanted.owner, lambda: {name: os.path.lexists(path) for name, path in live.items()}),
        "kept": "",
        "files": files.save(wanted.resources, f"{entry}/files"),
        "was": was,
        "service": wanted.service,
        "owner": wanted.owner,
        "beside": wanted.beside,
        "drop_in": drop_in.path(wanted.units, wanted.unit),
        "audit": wanted.audit or None,
        "backup": backup,
        "backup_place": wanted.backups.place.destination,
    }
    # First: without it, a host that loses its power now would come back with a journal that nobody ends.
    drop_in.install(noted["drop_in"], wanted.folder)
    journal_in(wanted.folder).write(STOPPING, **noted)
    return noted


def _done(
    wanted: Wanted,
    plan: _Plan,
    noted: dict[str, Any],
    config: str,
    migrate: Migrate,
    emit: Emit,
    stopping: Stopping,
) -> dict[str, Any]:
    """From a server that runs to one that runs with the other release, and is what counts from then on."""
    from mlflow_provision.agent.verify import passed

    journal, server = journal_in(wanted.folder), service(wanted.service)
    stopped = time.monotonic()
    with step(emit, "stop", f"{server.title} stopped"):
        server.stop(lambda: False)
        idle.wait(list(noted["live"].values()))
    copied = copies.while_it_stands(wanted, migrate, plan.sources, emit, stopping)
    if USERS in plan.old:
        _let_the_administrator_in(wanted, config, emit, stopping)
    with step(emit, "switch-databases", "databases replaced") as told:
        journal.write(SWITCHING)
        as_user(wanted.owner, lambda: switch.switch(noted, wanted.beside))
        told.summary = f"those of before are in {noted['old']}"
    apply(files.of(wanted.resources), emit, stopping)
    files.on_the_disk(noted["files"])
    drop_in.reload(noted["drop_in"])
    journal.write(STARTING)
    with step(emit, "start", server.title) as told:
        server.start(stopping)
        seconds = round(time.monotonic() - stopped, 1)
        told.summary = f"it was down for {seconds:.0f} s"
    journal.write(VERIFYING)
    otherwise = f"the server does not pass its verification with MLflow {wanted.version}"
    checks = passed(wanted.verify, emit, stopping, otherwise)
    _commit(wanted, noted, copied.schema, seconds, emit)
    return {
        "from": noted["from"],
        "to": noted["to"],
        "schema": copied.schema,
        "seconds_down": seconds,
        "checks": checks,
        "backup": noted["backup"],
        "backup_place": noted["backup_place"],
        "entry": noted["id"],
        "kept_aside": noted["old"],
    }


def _let_the_administrator_in(wanted: Wanted, config: str, emit: Emit, stopping: Stopping) -> None:
    """The password that the operator has is the one that works afterwards, whatever it was then."""
    if not wanted.administrator:
        return
    admin = replace(wanted.administrator, database=f"{wanted.beside}/{USERS}", tracking="", config=config)
    change = admin.check(Context())
    if change:
        with step(emit, "admin", admin.title) as told:
            admin.apply(Context(stopping=stopping))
            copies.settle(wanted)
            told.summary = change.summary


def _commit(wanted: Wanted, noted: dict[str, Any], schema: dict[str, list[str]], seconds: float, emit: Emit) -> None:
    """The end of the journal is the moment from which nobody goes back any more."""
    shown = ("id", "action", "undoes", "old", "live", "had", "backup", "backup_place")
    with step(emit, "commit", f"MLflow {wanted.version} is what counts from now on") as told:
        entry = {
            **{name: noted[name] for name in shown},
            "at": time.time(),
            "from": noted["from"],
            "to": {**noted["to"], "schema": {name: after for name, (_, after) in schema.items()}},
            "files": files.forget_unchanged(noted["files"]),
            "seconds_down": seconds,
            "rolled_back": "",
        }
        history.note(noted["entry"], entry)
        journal_in(wanted.folder).end()
        told.summary = f"what was replaced is in {noted['entry']}"


def _tidied(wanted: Wanted, plan: _Plan, noted: dict[str, Any]) -> list[str]:
    """What is over is removed: it must not fail what has been done."""
    from mlflow_provision.agent.upgrade.retention import forget

    with contextlib.suppress(AgentError, OSError):
        drop_in.remove(noted["drop_in"])
    with contextlib.suppress(AgentError, OSError):
        copies.clean(wanted)
    with contextlib.suppress(OSError):
        if plan.entry:
            history.mark_rolled_back(wanted.base, plan.entry["at"], noted["id"])
        return forget(wanted.root, wanted.base, wanted.keep)
    return []


def _failed(wanted: Wanted, error: BaseException, emit: Emit) -> AgentError:
    """The error that ends the request, after the way back; it says how things stand."""
    if not journal_in(wanted.folder).phase:
        # Nothing was touched, or all of it is done.
        with contextlib.suppress(AgentError, OSError):
            drop_in.remove(drop_in.path(wanted.units, wanted.unit))
        return AgentError(*words(error))
    again = f"see what is wrong: mlflow-provision doctor {wanted.deployment}; then run the same command again"
    return way_back.gone(error, lambda: undo.go_back(wanted.folder, emit), again)
