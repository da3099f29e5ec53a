"""Everything that can be done while the server still runs: fetched, checked, migrated, beside what it uses."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Callable

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.backup import manifest as manifests
from mlflow_provision.agent.backup import state
from mlflow_provision.agent.backup.codec import Key
from mlflow_provision.agent.backup.manifest import Manifest
from mlflow_provision.agent.backup.stores import open_store
from mlflow_provision.agent.backup.stores.base import Store
from mlflow_provision.agent.databases import TRACKING, USERS, migration, schema
from mlflow_provision.agent.protocol import CHANGED, OK, AgentError
from mlflow_provision.agent.resources.base import Context
from mlflow_provision.agent.restore import fetch, newer
from mlflow_provision.agent.restore.chosen import chosen
from mlflow_provision.agent.restore.wanted import Wanted
from mlflow_provision.agent.steps import Emit, amount, counted, progress, step

Stopping = Callable[[], bool]


@dataclass(frozen=True)
class Prepared:
    """`names` are the databases that wait beside; `secrets` the text of the backup's secrets.env."""

    manifest: Manifest
    names: list[str]
    secrets: str = field(repr=False)
    migrated: bool
    artifacts: dict[str, Any]


def prepare(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> Prepared:
    """Put the databases of the backup beside those of the server, ready to be used by this host's release."""
    fetched = as_user(wanted.owner, lambda: _fetched(wanted, operator, emit, stopping), stopping)
    manifest = manifests.decode(fetched["manifest"].encode(), "the manifest")
    names = list(fetched["schema"])
    outdated = schema.outdated(wanted.release, fetched["schema"])
    if outdated:
        _migrate(wanted, manifest, USERS in names, emit, stopping)
    if USERS in names or not os.path.exists(wanted.live[USERS]):
        _let_the_administrator_in(wanted, emit, stopping)
        names = [TRACKING, USERS]
    as_user(wanted.owner, lambda: fetch.settle(wanted))
    return Prepared(manifest, names, fetched["secrets"], bool(outdated), fetched["artifacts"])


def _fetched(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    settings = wanted.settings
    with state.working(settings.state, f"restore {wanted.deployment}", operator) as scratch:
        store = open_store(settings.place, wanted.deployment, settings.state, emit, stopping)
        _, manifest = chosen(store, wanted.id)
        newer.refuse_newer(wanted.release, manifest, manifest.schema)
        key = Key(wanted.identity, settings.encryption.python)
        with_artifacts = wanted.artifacts and bool(settings.source.artifacts and manifest.artifacts)
        fetch.clean(wanted)
        migrates = bool(schema.outdated(wanted.release, manifest.schema))
        fetch.refuse_without_room(wanted, manifest, migrates, with_artifacts)
        fetch.empty_beside(wanted)
        with step(emit, "fetch", f"backup {manifest.id}, fetched and checked") as told:
            size = sum(member.size for member in manifest.members)
            fetched = fetch.fetch(wanted, store, manifest, key, counted(progress(emit, "fetch"), size), stopping)
            newer.refuse_newer(wanted.release, manifest, fetched.schema)
            told.summary = f"{amount(size)}, MLflow {manifest.mlflow_version}"
        artifacts = _artifacts(wanted, store, manifest, key, scratch, emit, stopping) if with_artifacts else {}
    return {
        "manifest": manifests.encode(manifest).decode(),
        "schema": fetched.schema,
        "secrets": fetched.secrets,
        "artifacts": artifacts,
    }


def _artifacts(
    wanted: Wanted, store: Store, manifest: Manifest, key: Key, scratch: str, emit: Emit, stopping: Stopping
) -> dict[str, Any]:
    """Add what is missing: nothing that is there is lost, so it needs no way back."""
    from mlflow_provision.agent.backup.artifacts import packs

    with step(emit, "artifacts", "artifacts") as told:
        folder = wanted.settings.source.artifacts
        aside = f"{wanted.data}/artifacts-before-{manifest.id}"
        try:
            done = packs.restore(store, manifest, key, folder, scratch, aside, progress(emit, "artifacts"), stopping)
        except AgentError as error:
            hint = f"{error.hint}; or restore without them: add --no-artifacts".lstrip("; ")
            raise AgentError(error.message, error.hint if error.kind == "interrupted" else hint, error.kind) from None
        told.summary = f"{done.written} written, {done.equal} were there"
        if done.aside:
            told.summary += f", {done.aside} others are in {aside} now"
        told.verdict = CHANGED if done.written else OK
    return {**asdict(done), "folder": aside if done.aside else ""}


def _migrate(wanted: Wanted, manifest: Manifest, auth: bool, emit: Emit, stopping: Stopping) -> None:
    with step(emit, "migrate", "databases brought to this host's MLflow") as told:
        users = f"{wanted.beside}/{USERS}" if auth else ""
        tracking = f"{wanted.beside}/{TRACKING}"
        migration.migrate(wanted.release, wanted.config, wanted.owner, tracking, users, stopping)
        told.summary = f"from MLflow {manifest.mlflow_version}"


def _let_the_administrator_in(wanted: Wanted, emit: Emit, stopping: Stopping) -> None:
    """The password that the operator has is the one that works afterwards, whatever it was when it was backed up."""
    admin = dataclasses.replace(wanted.admin, database=f"{wanted.beside}/{USERS}", tracking="")
    change = admin.check(Context())
    if change:
        with step(emit, "admin", admin.title) as told:
            admin.apply(Context(stopping=stopping))
            told.summary = change.summary
