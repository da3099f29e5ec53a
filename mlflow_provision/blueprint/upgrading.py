"""What the agent is asked when a server changes its MLflow: the data of the verb `upgrade`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.databases import TRACKING, USERS
from mlflow_provision.agent.resources import Resource, to_json
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.record import Record
from mlflow_provision.agent.resources.release import Release
from mlflow_provision.agent.resources.store_access import StoreAccess
from mlflow_provision.agent.resources.symlink import Symlink
from mlflow_provision.blueprint import schedule
from mlflow_provision.blueprint.backup import settings_request
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.questions import verify_request
from mlflow_provision.blueprint.resources import blueprint, release_path
from mlflow_provision.blueprint.service import server
from mlflow_provision.config import Backup, Deployment, Secrets
from mlflow_provision.config.rules.backup import OF_UPGRADES
from mlflow_provision.config.rules.mlflow import age_problem
from mlflow_provision.layout import Layout

LOOK, REHEARSE, UPGRADE, ROLLBACK, UNDO = "look", "rehearse", "upgrade", "rollback", "undo"
EVERY = 99  # releases to keep: nothing that is a way back is thrown away

# What is made ready beside the running server.
_INSTALLED = ("root", "marker", "uv", "release")
# What another MLflow changes nothing of: the store, backups, and what makes them by itself.
_OF_BACKUPS = ("backup-store", "backup", "backup-state", "backup-folder", "age", "agent", "backup-job", "backup-unit")
_UNTOUCHED = ("store", *_OF_BACKUPS, "backup-timer-unit", "backup-timer")


@dataclass(frozen=True)
class Change:
    """From the MLflow that runs to another one. `release`: the folder of one that is there already, whatever a new one
    of that version would be called."""

    action: str
    before: str = ""  # versions
    before_release: str = ""
    release: str = ""
    entry: str = ""  # of the history: what a rollback goes back to
    keep: int = EVERY
    identity: str = field(default="", repr=False)  # what opens the backup that is made first


def upgrade_request(
    deployment: Deployment, secrets: Secrets, facts: dict[str, Any], change: Change, operator: str = ""
) -> dict[str, Any]:
    """The data of the verb `upgrade`; `deployment` names the version that is to run afterwards."""
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    release = layout.releases / change.release if change.release else release_path(layout)
    install = [*_installed(layout, secrets, facts), *schedule.ready(backed_up(layout))]
    switched = changed(deployment, secrets, facts, change.release, operator)
    return {
        "action": change.action,
        "deployment": deployment.name,
        "settings": settings_request(backed_up(layout).deployment, secrets, facts),
        "identity": change.identity,
        **({} if change.action == LOOK else changing(deployment, facts, _what(deployment, change))),
        "install": [to_json(one) for one in _on(layout, install, change.release)],
        "resources": [to_json(one) for one in switched],
        "from": {"version": change.before, "release": change.before_release},
        "to": {"version": deployment.mlflow.version, "release": str(release)},
        "entry": change.entry,
        "root": str(layout.root),
        "base": str(layout.base),
        "data": str(layout.data),
        "releases": str(layout.releases),
        "venv": str(layout.venv),
        "state": str(layout.state),
        "config": str(layout.auth_config),
        "owner": layout.user,
        "live": {TRACKING: str(layout.database), USERS: str(layout.auth_database)},
        "service": to_json(server(layout)),
        "unit": layout.unit if layout.system else "",
        "verify": _verify(deployment, secrets, facts),
        "keep": change.keep,
    }


def changed(
    deployment: Deployment, secrets: Secrets, facts: dict[str, Any], release: str = "", operator: str = ""
) -> list[Resource]:
    """The resources that another MLflow may change, in their order, the record of what was applied last."""
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    everything = blueprint(deployment, secrets, facts, operator)
    kept = [one for one in everything if one.id not in (*_INSTALLED, *_UNTOUCHED)]
    untouched = [one for one in everything if one.id in _UNTOUCHED]
    applied = facts["applied"] or {}
    return _on(layout, [_honest(one, untouched, applied) if isinstance(one, Record) else one for one in kept], release)


def backed_up(layout: Layout) -> Layout:
    """The same with a place for backups: one that has none gets a folder on the host, for the time of an upgrade."""
    deployment = layout.deployment
    if deployment.backup.destination:
        return layout
    place = Backup(
        destination=str(layout.base / OF_UPGRADES),
        schedule="off",
        keep_last=3,
        keep_daily=0,
        keep_weekly=0,
        artifacts=False,
    )
    return replace(layout, deployment=replace(deployment, backup=place))


def _installed(layout: Layout, secrets: Secrets, facts: dict[str, Any]) -> list[Resource]:
    everything = blueprint(layout.deployment, secrets, facts)
    return [one for one in everything if one.id in _INSTALLED]


def _honest(record: Record, untouched: list[Resource], applied: dict[str, Any]) -> Record:
    """The record without claims about what is left as it is: of that it says what it said before."""
    facts = dict(record.facts)
    hashes = dict(facts["hashes"])
    for one in untouched:
        if isinstance(one, StoreAccess):
            facts[one.proof_name] = applied.get(one.proof_name, "")
        elif isinstance(one, File) and one.path in hashes:
            del hashes[one.path]
            before = (applied.get("hashes") or {}).get(one.path)
            hashes |= {one.path: before} if before else {}
    return replace(record, facts={**facts, "hashes": hashes})


def _on(layout: Layout, resources: list[Resource], release: str) -> list[Resource]:
    """The same on a release that is there already: it ran, so it is not installed anew under another name."""
    if not release or release == release_path(layout).name:
        return resources
    ours, theirs = str(release_path(layout)), str(layout.releases / release)
    return [_moved(one, ours, theirs) for one in resources]


def _moved(resource: Resource, ours: str, theirs: str) -> Resource:
    if isinstance(resource, Record):
        return replace(resource, facts={**resource.facts, "release": PurePosixPath(theirs).name})
    if isinstance(resource, Release) and resource.path == ours:
        return replace(resource, path=theirs)
    if isinstance(resource, Symlink) and resource.target == ours:
        return replace(resource, target=theirs)
    if isinstance(resource, AdminUser) and resource.release == ours:
        return replace(resource, release=theirs)
    return resource


def _verify(deployment: Deployment, secrets: Secrets, facts: dict[str, Any]) -> dict[str, Any]:
    """Nothing is killed: people use this server. One that goes back to an MLflow that cannot tell a foreign page from
    its own is not refused for that."""
    request = verify_request(deployment, secrets, facts, "full", kill=False)
    return {**request, "guarded": age_problem(deployment.mlflow.version) is None}


def _what(deployment: Deployment, change: Change) -> str:
    """What is told to whoever finds the host locked, and stays in its log."""
    name, version = deployment.name, deployment.mlflow.version
    return {
        REHEARSE: f"upgrade {name} --to {version} --dry-run",
        UPGRADE: f"upgrade {name} --to {version}",
        ROLLBACK: f"rollback {name} --to {version}",
        UNDO: f"rollback {name}",
    }[change.action]
