"""Backups of a deployment, without printing: made, listed, proved, copied and deleted by requests to its host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow_provision.agent.protocol import AgentError, Done, Event
from mlflow_provision.agent.restore.wanted import SAFETY
from mlflow_provision.blueprint import schedule
from mlflow_provision.blueprint.backup import operator_folder, settings_request
from mlflow_provision.blueprint.changing import noted
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.config.deployment import OPERATOR
from mlflow_provision.deployment_keys import with_keys
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import Host
from mlflow_provision.layout import Layout
from mlflow_provision.provision import Facts, apply_resources, look, password_unknown

BY_HAND = "by hand"
LATEST = "latest"
ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
Backup = dict[str, Any]  # as the host lists them; docs/commands.md explains every field


@dataclass(frozen=True)
class Reached:
    """A deployment whose host was asked, and the settings of its backups as every request carries them."""

    host: Host
    deployment: Deployment
    secrets: Secrets = field(repr=False)
    facts: Facts
    settings: dict[str, Any] = field(repr=False)

    @property
    def place(self) -> str:
        return self.deployment.backup.destination

    def require_password(self) -> None:
        """Whoever restores must be able to log in afterwards."""
        if not self.secrets.admin_password:
            raise password_unknown(self.deployment)

    def request(self, action: str, *folders: Path, **data: Any) -> Iterator[Event]:
        """The events of one request about backups; `folders` of this machine take part besides its place."""
        data = {"action": action, "settings": self.settings, **data}
        return asked(self.host, "backup", data, self.deployment, *folders)


def reach(host: Host, deployment: Deployment, secrets: Secrets) -> Reached:
    """Ask the host of a deployment that is set up."""
    deployment, secrets = with_keys(deployment, secrets)
    facts, _ = look(host, deployment)
    if facts["applied"] is None:
        raise ProvisionError(
            f"{deployment.name} is not set up on {deployment.host}: there is nothing to back up",
            f"set it up: mlflow-provision setup {deployment.name}\n"
            f"or put a backup there: mlflow-provision restore {deployment.name}",
        )
    return reached_with(host, deployment, secrets, facts)


def reached_with(host: Host, deployment: Deployment, secrets: Secrets, facts: Facts) -> Reached:
    """The same where all is known."""
    return Reached(host, deployment, secrets, facts, settings_request(deployment, secrets, facts))


def asked(host: Host, verb: str, data: dict[str, Any], deployment: Deployment, *folders: Path) -> Iterator[Event]:
    """The events of a request during which the host may ask for what is in folders of this machine: in the place of
    the backups, if it is one, and in these."""
    from mlflow_provision.operator_folder import OperatorFolder

    if deployment.backup.with_operator:
        folders = (operator_folder(deployment.backup.destination), *folders)
    if not folders:
        yield from host.request(verb, data)
        return
    by_place = {str(folder): OperatorFolder(folder, deployment.name) for folder in folders}

    def reply(call: str, arguments: dict[str, Any]) -> dict[str, Any]:
        meant = by_place.get(str(arguments.get("place"))) or next(iter(by_place.values()))  # which refuses
        return meant(call, arguments)

    try:
        yield from host.request(verb, data, reply)
    finally:
        for one in by_place.values():
            one.close()


def ready(reached: Reached, kept: Deployment) -> Iterator[Event]:
    """Make the host ready for what is done with backups: its folders, the tool that encrypts, and a copy of the
    deployment file, which says `kept`. Neither the timer nor what it does is touched."""
    deployment, facts = reached.deployment, reached.facts
    root = PurePosixPath(facts["root"]["path"])
    said = kept if kept.backup.destination else deployment  # a first place is about to be kept
    resources = [*schedule.deployment_file(Layout(said, root)), *schedule.ready(Layout(deployment, root))]
    return apply_resources(reached.host, resources, deployment, facts, f"backup {deployment.name}")


def only_reading(deployment: Deployment) -> Deployment:
    """The deployment for somebody who makes no backup: what a new one would be encrypted with need not be known."""
    return replace(deployment, backup=replace(deployment.backup, encryption="", recipient=""))


def reading(reached: Reached, backup: Backup) -> Reached:
    """The same for somebody who reads this backup: what decrypts it is needed, whatever new ones are like."""
    recipient = backup["encryption"].get("recipient", "")
    if not recipient or reached.deployment.backup.encryption:
        return reached
    of_it = replace(reached.deployment.backup, encryption="recipient", recipient=recipient)
    return replace(reached, deployment=replace(reached.deployment, backup=of_it))


def make(reached: Reached, artifacts: bool, verify: bool, identity: str) -> Iterator[Event]:
    """A backup, now, on a host that is `ready`; its answer is `{"backup": …}`."""
    copy = Layout(reached.deployment, PurePosixPath(reached.facts["root"]["path"])).deployment_file
    source = reached.settings["source"]
    source = {**source, "files": {**source["files"], copy.name: str(copy)}}  # it may be there only now
    return replace(reached, settings={**reached.settings, "source": source}).request(
        "make", reason=BY_HAND, artifacts=artifacts, verify=verify, identity=identity
    )


def listed(reached: Reached) -> list[Backup]:
    """All backups, newest first."""
    found: list[Backup] = data_of(reached.request("list"))["backups"]
    return found


def data_of(events: Iterator[Event]) -> dict[str, Any]:
    """What ends a request whose events nobody needs to see. All are taken: the error of a failed one comes last."""
    data: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Done):
            data = event.data
    return data


def listed_here(deployment: Deployment) -> list[Backup]:
    """The same where they are on this machine: no host is asked, it may be gone."""
    from mlflow_provision.agent.backup.listing import listed, shown
    from mlflow_provision.agent.backup.stores.folder import FolderStore

    store = FolderStore(str(operator_folder(deployment.backup.destination) / deployment.name))
    try:
        return [shown(backup) for backup in listed(store)]
    except AgentError as error:
        raise ProvisionError(error.message, error.hint) from None


def verify(reached: Reached, id: str, identity: str) -> Iterator[Event]:
    """Prove that a backup can be restored; its answer is `{"id", "level", "checks"}`."""
    return reached.request("verify", id=id, identity=identity)


def prune(reached: Reached, dry_run: bool) -> Iterator[Event]:
    """Delete what is not to be kept; its answer is `{"decisions", "removed", "freed"}`."""
    deployment = reached.deployment
    record = {} if dry_run else noted(deployment, reached.facts, f"backup prune {deployment.name}")
    return reached.request("prune", dry_run=dry_run, **record)


def download(reached: Reached, id: str, folder: Path) -> Iterator[Event]:
    """Copy all objects of a backup into a folder on this machine, which is a place for `restore` afterwards."""
    return reached.request("download", folder, id=id, to={"destination": f"{OPERATOR}{folder}"})


def regular(backups: Sequence[Backup]) -> list[Backup]:
    """Those that no restore made before it began: one that is repeated must not bring back what it was to replace."""
    return [backup for backup in backups if not str(backup["reason"]).startswith(SAFETY)] or list(backups)


def found(backups: Sequence[Backup], word: str, name: str) -> Backup:
    """The backup that an ID, the beginning of one, or `latest` means."""
    usable = [backup for backup in backups if not backup["problem"]]
    if word == LATEST:
        if usable:
            return usable[0]
        problem = f": {backups[0]['id']}: {backups[0]['problem']}" if backups else ""
        raise ProvisionError(
            f"there is no backup of {name} that can be used{problem}", f"make one: mlflow-provision backup {name}"
        )
    meant = [backup for backup in backups if backup["id"].startswith(word)]
    if len(meant) == 1:
        return meant[0]
    hint = f"see what there is: mlflow-provision backup list {name}"
    if not meant:
        raise ProvisionError(f"there is no backup {word} of {name}", hint, ExitCode.USAGE)
    raise ProvisionError(f"{word} could be each of {len(meant)} backups of {name}", hint, ExitCode.USAGE)


def usable(backup: Backup) -> Backup:
    """The same, unless its manifest cannot be read."""
    if backup["problem"]:
        raise ProvisionError(f"the backup {backup['id']} cannot be used: {backup['problem']}", "use another one")
    return backup


def known_identity(encryption: dict[str, Any], secrets: Secrets) -> str:
    """What opens a backup, if our secrets have it; "" if not, or if it is not encrypted."""
    from mlflow_provision.backup_keys import recipient_of

    candidates = [secrets.backup_identity] if secrets.backup_identity else []
    if encryption.get("kdf") and secrets.backup_passphrase:
        candidates.append(identity_from(secrets.backup_passphrase, encryption))
    return next((one for one in candidates if encryption and recipient_of(one) == encryption["recipient"]), "")


def identity_from(typed: str, encryption: dict[str, Any]) -> str:
    """The identity that a passphrase, or an identity itself, stands for. Raises ProvisionError if it is neither."""
    from mlflow_provision.backup_keys import from_passphrase

    if encryption.get("kdf") and not typed.upper().startswith("AGE-SECRET-KEY-"):
        return from_passphrase(typed, encryption["kdf"])
    return typed


def opens(identity: str, encryption: dict[str, Any]) -> bool:
    """Is it the one to which the backup was encrypted?"""
    from mlflow_provision.backup_keys import recipient_of

    try:
        return recipient_of(identity) == str(encryption["recipient"])
    except (ProvisionError, ValueError):
        return False
