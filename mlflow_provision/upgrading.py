"""Another MLflow for a server, without printing: looked at, rehearsed, carried out, taken back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision import backups, preflight
from mlflow_provision.agent.adoption import UNFINISHED
from mlflow_provision.agent.protocol import CHANGED, OK, Event, Result
from mlflow_provision.agent.resources import to_json
from mlflow_provision.blueprint.questions import facts_request
from mlflow_provision.blueprint.upgrading import (
    LOOK,
    REHEARSE,
    ROLLBACK,
    UNDO,
    UPGRADE,
    Change,
    backed_up,
    changed,
    upgrade_request,
)
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION, Deployment, Secrets
from mlflow_provision.config.rules.mlflow import version_problem
from mlflow_provision.deployment_keys import with_keys
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host, answer
from mlflow_provision.host.program import operator
from mlflow_provision.layout import Layout
from mlflow_provision.provision import (
    LATEST,
    AdoptionUnfinished,
    Facts,
    password_unknown,
    refuse,
    with_version,
)
from mlflow_provision.version import newer

# What people notice of an MLflow: (the first that has it, what it is). Each was run, or read in its code.
_NOTES = (
    ("3.5.1", "the server answers only to its own names, and to those in allowed_hosts"),
    ("3.10.0", "other web pages can no longer write with the login of whoever visits them"),
    ("3.11.1", "the list of users can be asked for"),
    ("3.12.0", "roles; good passwords are remembered for a minute, which makes it many times faster"),
    ("3.13.0", "older API routes for permissions are gone: scripts that call them must change"),
    ("3.13.0", "artifacts whose names are not ASCII can be downloaded"),
)


@dataclass(frozen=True)
class Site:
    """A server and its host, looked at; `deployment` is what the deployment file says."""

    host: Host
    deployment: Deployment
    secrets: Secrets = field(repr=False)
    facts: Facts
    skew: float = 0.0

    @property
    def version(self) -> str:
        """The MLflow that runs; "" when the host's record does not say."""
        return str((self.facts["applied"] or {}).get("mlflow_version") or "")

    @property
    def release(self) -> str:
        return str((self.facts["applied"] or {}).get("release") or "")

    @property
    def newest(self) -> str:
        """The newest MLflow that installs; "" when the index did not tell."""
        versions = (self.facts["index"] or {}).get("versions") or [""]
        return str(versions[0])

    @property
    def backed_up(self) -> Deployment:
        """The same with the place where the backup goes that is made first."""
        return backed_up(Layout(self.deployment, PurePosixPath(self.facts["root"]["path"]))).deployment

    def request(self, change: Change, version: str) -> Iterator[Event]:
        """The events of one request about the change to a version."""
        wanted = with_version(self.deployment, version)
        data = upgrade_request(wanted, self.secrets, self.facts, change, operator())
        usual = {resource["id"] for resource in (*data["install"], *data["resources"])}
        for event in backups.asked(self.host, "upgrade", data, self.backed_up):
            if not (isinstance(event, Result) and event.verdict == OK and event.step in usual):  # as it should be
                yield event


def site(host: Host, deployment: Deployment, secrets: Secrets) -> Site:
    """Ask the host of a server that is set up. The package index is asked too, whatever is installed there already."""
    deployment, secrets = with_keys(deployment, secrets)
    before = time.time()
    facts = answer(host, "facts", {**facts_request(deployment), "release": ""})
    skew = facts["time"] - (before + time.time()) / 2
    if facts.get("adoption") in UNFINISHED:
        raise AdoptionUnfinished(deployment)
    if facts["applied"] is None:
        raise ProvisionError(
            f"{deployment.name} is not set up on {deployment.host}: there is nothing to upgrade",
            f"set it up: mlflow-provision setup {deployment.name}",
        )
    if not secrets.admin_password:
        raise password_unknown(deployment)
    return Site(host, deployment, secrets, facts, skew)


def target(site: Site, wish: str) -> str:
    """The version to upgrade to: the one that was wished, else what the deployment file says if that is newer than what
    runs, else the one that is tested. Raises ProvisionError for what is no upgrade."""
    if wish == LATEST:
        if not site.newest:
            reason = (site.facts["index"] or {}).get("error") or "the package index has none"
            raise ProvisionError(
                f"the newest MLflow is not known: {reason}", f"name one: --to {DEFAULT_MLFLOW_VERSION}"
            )
        wish = site.newest
    if wish and (problem := version_problem(wish)):
        raise ProvisionError(f"--to: {problem}", "mlflow-provision upgrade NAME --to VERSION", ExitCode.USAGE)
    noted = site.deployment.mlflow.version
    version = wish or (noted if newer(noted, site.version) else DEFAULT_MLFLOW_VERSION)
    if newer(site.version, version):
        if not wish:
            return site.version  # it is ahead of what we ship
        raise ProvisionError(
            f"{site.deployment.name} runs MLflow {site.version}, which is newer than {version}: "
            "a migrated database never becomes older",
            f"where it was upgraded, go back to what it had: mlflow-provision rollback {site.deployment.name}",
            ExitCode.USAGE,
        )
    return version


def seen(site: Site, version: str, release: str = "") -> dict[str, Any]:
    """What is there, and what a change to that version would need. Changes nothing."""
    return backups.data_of(site.request(Change(LOOK, site.version, site.release, release), version))


def check(site: Site, version: str, look: dict[str, Any]) -> None:
    """Raise ProvisionError with all that stands in the way of an upgrade."""
    installed = bool(look["target"]["installed"])
    facts = {**site.facts, "release_installed": installed}
    if installed:
        facts["index"] = None
    found = preflight.upgrade_problems(with_version(site.deployment, version), facts, site.skew)
    free, needed = look["disk_free"], look["disk_needed"]
    if needed > free and not any("free at" in problem.message for problem in found):
        found.append(
            preflight.Problem(
                f"{free / 1e9:.1f} GB free on the host is too little: {needed / 1e9:.1f} GB are needed, "
                "most of it for a while",
                "free some space on the host, then run the same command again",
            )
        )
    refuse(found)


def also_changes(site: Site, version: str, release: str = "") -> list[Result]:
    """The files of the server that would differ besides its release: with another MLflow, and because the deployment
    file or this program have changed since they were applied."""
    wanted = with_version(site.deployment, version)
    shown = [
        one
        for one in changed(wanted, site.secrets, site.facts, release)
        if one.id not in ("venv", "record", "service", "admin", "database", "deployment.toml")
    ]
    events = list(site.host.request("plan", {"resources": [to_json(one) for one in shown]}))
    return [event for event in events if isinstance(event, Result) and event.verdict == CHANGED]


def rehearse(site: Site, version: str) -> Iterator[Event]:
    """Install the release beside the one that runs, and migrate a copy of the databases with it."""
    return site.request(Change(REHEARSE, site.version, site.release, identity=identity(site)), version)


def upgrade(site: Site, version: str, keep: int) -> Iterator[Event]:
    """Afterwards the server runs the version, verified; or what it ran before, with the databases it had."""
    change = Change(UPGRADE, site.version, site.release, keep=keep, identity=identity(site))
    return site.request(change, version)


def rollback(site: Site, entry: dict[str, Any]) -> Iterator[Event]:
    """Back to what an entry of the history says; or everything stays as it is."""
    change = Change(ROLLBACK, site.version, site.release, known_release(entry), entry["id"], identity=identity(site))
    return site.request(change, entry["from"]["version"])


def undo(site: Site) -> Iterator[Event]:
    """Back to what was there before an upgrade, or a rollback, that was interrupted."""
    return site.request(Change(UNDO, site.version, site.release), site.version or site.deployment.mlflow.version)


def tidy(site: Site) -> None:
    """Of the backups that upgrades make in a folder on the host, the last three stay. A place of the person's has its
    own rules. What is done is done: this may fail."""
    if site.deployment.backup.destination:
        return
    reached = backups.reached_with(site.host, site.backed_up, site.secrets, site.facts)
    with contextlib.suppress(ProvisionError):
        backups.data_of(backups.prune(reached, dry_run=False))


def entry(site: Site, history: Sequence[dict[str, Any]], wish: str) -> dict[str, Any]:
    """Where a rollback goes: to the newest entry, or to the newest of the version that was wished."""
    name = site.deployment.name
    possible = [one for one in history if one["target"]]
    if not possible:
        raise ProvisionError(
            f"{name} has nothing to go back to: it was never upgraded here, or what it had before is kept no longer",
            f"an earlier state, with the MLflow of today, is in its backups: mlflow-provision backup list {name}",
        )
    for one in possible:
        if not wish or one["from"]["version"] == wish:
            return one
    versions = ", ".join(dict.fromkeys(str(one["from"]["version"]) for one in possible))
    raise ProvisionError(f"{name} cannot go back to MLflow {wish}", f"it can to {versions}", ExitCode.USAGE)


def known_release(entry: dict[str, Any]) -> str:
    """The folder of the release that ran then, if it is still there; "" means: installed again."""
    return str(entry["from"]["release"]) if entry["installed"] else ""


def identity(site: Site) -> str:
    """What opens the backup that is made first, where our secrets have it: its content is proved then, too."""
    from mlflow_provision.blueprint.backup import settings_request

    encryption = settings_request(site.backed_up, site.secrets, site.facts)["encryption"]
    return backups.known_identity(encryption, site.secrets) if encryption["recipient"] else ""


def notes(before: str, after: str) -> list[str]:
    """What people notice of an upgrade, oldest first: the version that brought it, and what it is."""
    return [f"{version}: {text}" for version, text in _NOTES if newer(version, before) and not newer(version, after)]
