"""A host that gets a deployment by a restore: set up first, scheduled afterwards, and named in the deployment file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_provision.agent.protocol import CHANGED
from mlflow_provision.cli.backup.reached import secrets_of
from mlflow_provision.cli.connection import where
from mlflow_provision.cli.interrupt import stoppable
from mlflow_provision.cli.restore_asked import Order, confirmed
from mlflow_provision.cli.restore_shown import say_setup

if TYPE_CHECKING:
    from mlflow_provision.backups import Reached
    from mlflow_provision.config import Deployment, Secrets
    from mlflow_provision.console import Console
    from mlflow_provision.host import Host
    from mlflow_provision.provision import Prepared
    from mlflow_provision.restoring import Wish


def set_up(
    console: Console, host: Host, site: Reached, secrets: Secrets, wish: Wish, path: Path, order: Order
) -> Reached | None:
    """A blank host becomes a verified server first, if that is wanted. The place of the backup and that of the
    deployment file may be two, each with keys of its own: `secrets` has those of both."""
    from mlflow_provision import restoring
    from mlflow_provision.cli.verified import verified
    from mlflow_provision.config import load
    from mlflow_provision.deployment_keys import with_keys
    from mlflow_provision.provision import apply, prepare

    deployment = restoring.fitting(site.deployment, wish.backup)
    # No timer yet: a backup of an empty server would be the latest one.
    own = restoring.unscheduled(replace(deployment, backup=load(path).backup))
    with console.busy("Looking at " + where(deployment)):
        prepared = prepare(host, *with_keys(own, secrets))
    say_setup(console, prepared, wish, changed_version=deployment.mlflow.version != site.deployment.mlflow.version)
    if not confirmed(console, deployment, order.yes):
        return None
    _keep_password(path, prepared)
    with stoppable(console, host):
        results = console.steps(apply(host, prepared, f"restore {deployment.name}"))
    console.document.changes = sum(result.verdict == CHANGED for result in results)
    verified(console, host, prepared, kill=False)
    console.say("Restoring", "strong")
    known = replace(secrets, admin_password=prepared.secrets.admin_password)
    return restoring.site(host, replace(prepared.deployment, backup=deployment.backup), known)


def scheduled_again(console: Console, host: Host, secrets: Secrets, path: Path) -> None:
    """The host backs itself up as the deployment file says."""
    from mlflow_provision.config import load
    from mlflow_provision.deployment_keys import with_keys
    from mlflow_provision.provision import apply, prepare

    deployment = load(path)
    if deployment.backup.scheduled:
        known = replace(secrets, admin_password=secrets_of(path).admin_password)  # the server may be a new one
        prepared = prepare(host, *with_keys(deployment, known))
        with stoppable(console, host):
            console.steps(apply(host, prepared, f"restore {deployment.name}"))


def note_host(console: Console, path: Path, deployment: Deployment) -> None:
    """The deployment file says where the deployment is now."""
    from mlflow_provision.config import load, save

    here = moved_here(path, deployment)
    if here != load(path):
        save(here, path)
        console.say(f'{path} says host = "{deployment.host}" from now on.')


def moved_here(path: Path, deployment: Deployment) -> Deployment:
    """What the file says when the deployment is there; its place for backups stays what it was."""
    from mlflow_provision.config import load

    kept = load(path)
    return replace(
        kept,
        host=deployment.host,
        scope=deployment.scope,
        identity_file=deployment.identity_file,
        mlflow=replace(kept.mlflow, version=deployment.mlflow.version),
    )


def _keep_password(path: Path, prepared: Prepared) -> None:
    """No server ever has a password that nobody knows."""
    from mlflow_provision.config import load_secrets, save_secrets, secrets_beside

    stored = load_secrets(secrets_beside(path))
    if prepared.secrets.admin_password != stored.admin_password:
        save_secrets(secrets_beside(path), replace(stored, admin_password=prepared.secrets.admin_password))
