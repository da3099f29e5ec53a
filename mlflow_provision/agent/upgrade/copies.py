"""Copies of the databases beside those of the server: brought to a release's schema, compared, ready to be used.

All of it happens in the folder `beside` and as the service user; nothing that a server uses is written to.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from typing import Any, Callable

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.command import CommandFailed
from mlflow_provision.agent.databases import TRACKING, USERS, migration, schema, settled, snapshot
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.steps import Emit, amount, progress, step
from mlflow_provision.agent.upgrade import copying
from mlflow_provision.agent.upgrade.copying import Stopping
from mlflow_provision.agent.upgrade.wanted import Wanted

Migrate = Callable[[str, str, str], None]  # owner, tracking database, database of users or ""
_SPARE = 128 << 20  # bytes that stay free for the server
_ANOTHER = "mlflow-provision upgrade NAME --to VERSION"
_TIMES = 3  # a copy, one that is migrated, and the tables that a migration writes anew


@dataclass
class Copied:
    """Database → its revision before and after; how long each part took, and how many bytes the copies have."""

    schema: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: int = 0

    @property
    def migrated(self) -> bool:
        return any(before != after for before, after in self.schema.values())


def there(paths: dict[str, str], owner: str) -> dict[str, str]:
    """Those of some databases that exist."""
    found: dict[str, str] = as_user(owner, lambda: {name: path for name, path in paths.items() if os.path.exists(path)})
    return found


def room_needed(paths: dict[str, str]) -> int:
    """How many bytes the copies take at most."""
    return _TIMES * snapshot.needed(paths.values())


def refuse_without_room(wanted: Wanted, paths: dict[str, str]) -> None:
    """Raise AgentError of kind "disk" when they would not fit."""
    need, free = room_needed(paths) + _SPARE, shutil.disk_usage(wanted.data).free
    if need > free:
        raise AgentError(
            f"there is no room in {wanted.data}: copies of the databases need {need / 1e6:.0f} MB there, and "
            f"{free / 1e6:.0f} MB are free",
            f"free some space on the host, then run the same command again: df -h {wanted.data}",
            "disk",
        )


def while_it_runs(wanted: Wanted, config: str, paths: dict[str, str], emit: Emit, stopping: Stopping) -> Copied:
    """The rehearsal: copies of databases that a server may be using, brought to the release that is wanted."""
    with step(emit, "copy", "databases copied, beside the server that runs") as told:
        tell = progress(emit, "copy")
        taken = as_user(wanted.owner, lambda: copying.snapshots(wanted.beside, paths, tell, stopping), stopping)
        told.summary = amount(taken["bytes"])

    def migrate(owner: str, tracking: str, users: str) -> None:
        migration.migrate(wanted.release, config, owner, tracking, users, stopping)

    return _brought(wanted, migrate, taken, emit, stopping)


def while_it_stands(wanted: Wanted, migrate: Migrate, paths: dict[str, str], emit: Emit, stopping: Stopping) -> Copied:
    """The same with databases that nobody uses. They stay as they are, bit for bit; the copies are ready to be used."""
    with step(emit, "copy", "databases copied") as told:
        taken = as_user(wanted.owner, lambda: copying.taken(wanted.beside, paths, stopping), stopping)
        told.summary = amount(taken["bytes"])
    copied = _brought(wanted, migrate, taken, emit, stopping)
    as_user(wanted.owner, lambda: copying.ready(wanted.beside))
    return copied


def clean(wanted: Wanted) -> None:
    """Remove the copies."""
    as_user(wanted.owner, lambda: copying.empty(wanted.beside))


def settle(wanted: Wanted) -> None:
    """Make them ready to be used, once more."""
    as_user(wanted.owner, lambda: settled.settle(wanted.beside))


def revisions(paths: dict[str, str], owner: str) -> dict[str, str]:
    """Database → the revision of its schema; "" where it cannot be read."""
    found: dict[str, str] = as_user(owner, lambda: {name: copying.revision(path) for name, path in paths.items()})
    return found


def _brought(wanted: Wanted, migrate: Migrate, taken: dict[str, Any], emit: Emit, stopping: Stopping) -> Copied:
    copied = Copied(bytes=taken["bytes"], seconds={"copy": taken["seconds"]})
    before = taken["schema"]
    _refuse_newer(wanted, before)
    outdated = schema.outdated(wanted.release, before)
    if outdated:
        started = time.monotonic()
        with step(emit, "migrate", f"copies migrated by MLflow {wanted.version}") as told:
            users = f"{wanted.beside}/{USERS}" if USERS in before else ""
            tracking = f"{wanted.beside}/{TRACKING}"
            try:
                migrate(wanted.owner, tracking, users)
            except CommandFailed as failure:
                raise _unmigrated(wanted, failure) from None
            except AgentError as error:
                if error.kind == "interrupted":
                    raise AgentError("stopped while copies of the databases were migrated", kind=error.kind) from None
                raise
            told.summary = ", ".join(snapshot.title(name) for name in outdated)
        copied.seconds["migrate"] = round(time.monotonic() - started, 2)
    started = time.monotonic()
    with step(emit, "compare", "copies are whole, with every row") as told:
        after = as_user(
            wanted.owner, lambda: copying.checked(wanted.beside, before, bool(outdated), stopping), stopping
        )
        _refuse_half_migrated(wanted, after)
        told.summary = ", ".join(
            f"{count} {what if count != 1 else what[:-1]}" for what, count in taken["rows"].items() if count
        )
    copied.seconds["compare"] = round(time.monotonic() - started, 2)
    copied.schema = {name: [before[name], after[name]] for name in before}
    return copied


def _unmigrated(wanted: Wanted, failure: CommandFailed) -> AgentError:
    """What the program said at the end: an exception, whose text may have several lines, after where it came from."""
    lines = [line for line in failure.lines if line.strip()]
    places = [number for number, line in enumerate(lines) if line.startswith(" ")]
    said = lines[places[-1] + 1 :] if places else lines
    why = "\n".join(said[:6]) or f"it ended with exit code {failure.code}"
    hint = f"stay with the version that runs, and report this to MLflow; or try another: {_ANOTHER}"
    return AgentError(f"MLflow {wanted.version} cannot migrate a copy of the databases:\n{why}", hint, "migration")


def _refuse_newer(wanted: Wanted, found: dict[str, str]) -> None:
    for name, revision in found.items():
        known = schema.known(wanted.release, name)[0]
        if known and revision and revision not in known:
            message = f"the {snapshot.title(name)} has a newer schema ({revision}) than MLflow {wanted.version} knows"
            raise AgentError(message, "going back to an older version is what rollback is for", "newer")


def _refuse_half_migrated(wanted: Wanted, found: dict[str, str]) -> None:
    for name in schema.outdated(wanted.release, found):
        heads = ", ".join(sorted(schema.known(wanted.release, name)[1]))
        if heads:
            raise AgentError(f"the migration left the {snapshot.title(name)} at {found[name]}, not at {heads}")
