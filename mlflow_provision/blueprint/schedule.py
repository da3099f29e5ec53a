"""What of backups is on the host: folders, the tool that encrypts, and what makes them without an operator."""

from __future__ import annotations

import json
from dataclasses import asdict

from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.absent import PathAbsent
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.installed_agent import InstalledAgent
from mlflow_provision.agent.resources.owned_tree import OwnedTree
from mlflow_provision.agent.resources.store_access import StoreAccess
from mlflow_provision.blueprint import permissions, timed
from mlflow_provision.blueprint.backup_settings import AGE_REQUIREMENTS, age_venv, place, settings
from mlflow_provision.blueprint.timed import Times
from mlflow_provision.blueprint.venv import venv
from mlflow_provision.config import Secrets, as_toml
from mlflow_provision.layout import Layout

SECRET_KEYS = ("access_key_id", "secret_access_key", "session_token", "ping_url")

# By night: a busy server stalls for a moment while its database is copied.
_TIMES = {
    "hourly": Times("hourly", "5min", "7 * * * *"),
    "daily": Times("*-*-* 02:30:00", "1h", "45 2 * * *"),
    "weekly": Times("Sun *-*-* 02:30:00", "1h", "45 2 * * 0"),
}


def access(layout: Layout, secrets: Secrets) -> list[Resource]:
    """Proof that backups can be put where they belong; an empty list for a folder."""
    deployment = layout.deployment
    if not deployment.backup.on_s3:
        return []
    there = place(deployment, secrets)
    return [
        StoreAccess(
            id="backup-store",
            destination=there.destination,
            region=there.region,
            endpoint_url=there.endpoint_url,
            access_key_id=there.access_key_id,
            secret_access_key=there.secret_access_key,
            session_token=there.session_token,
            state=str(layout.state),
            section="backup",
            append_only=deployment.backup.append_only,
        )
    ]


def ready(layout: Layout) -> list[Resource]:
    """What every backup needs, whoever asks for it."""
    found: list[Resource] = [
        Directory("backup", str(layout.backup), *permissions.enterable(layout)),
        Directory("backup-state", str(layout.backup_state), 0o700, layout.user, layout.user),
    ]
    if layout.backup_folder:
        # The folder around it is the person's: other deployments, and other things, may be in it. This one may come
        # from another host, where the service user had another number.
        found.append(OwnedTree("backup-folder", layout.backup_folder, 0o700, layout.user, layout.user))
    return [*found, *age(layout)]


def age(layout: Layout) -> list[Resource]:
    """The tool that encrypts, where something is to be encrypted."""
    if not layout.deployment.backup.encryption:
        return []
    return [venv(layout, "age", age_venv(layout), AGE_REQUIREMENTS)]


def deployment_file(layout: Layout) -> list[Resource]:
    """A copy of the operator's own file, which goes into every backup."""
    if not layout.deployment.backup.destination:
        return [PathAbsent("deployment.toml", str(layout.deployment_file))]
    content = _COPY + as_toml(layout.deployment)
    return [File("deployment.toml", str(layout.deployment_file), content, *permissions.readable(layout))]


_COPY = "# Managed by mlflow-provision: a copy of the deployment file, for backups. Changes here are put right.\n"


def scheduled(layout: Layout, secrets: Secrets) -> list[Resource]:
    """What makes backups by itself, or makes sure that nothing does. None of it restarts the server."""
    schedule = layout.deployment.backup.schedule
    if not layout.deployment.backup.scheduled:
        return unscheduled(layout)
    return [
        *agent(layout),
        File("backup-job", str(layout.backup_job), job(layout, secrets), *permissions.readable(layout), SECRET_KEYS),
        *timed.backup(layout).units_of(schedule, _TIMES[schedule], _writable(layout)),
    ]


def unscheduled(layout: Layout) -> list[Resource]:
    """No timer, and no keys left for it."""
    return [*timed.backup(layout).absent(), *agent(layout)]


def agent(layout: Layout) -> list[Resource]:
    """The program that timers start, where there is one."""
    if layout.deployment.backup.scheduled or layout.deployment.gc.scheduled:
        return [InstalledAgent("agent", str(layout.agent), *permissions.root(layout))]
    return [PathAbsent("agent", str(layout.agent))]


def job(layout: Layout, secrets: Secrets) -> str:
    """What a scheduled backup does. A line for each setting, so that a diff can hide the values of some."""
    backup = layout.deployment.backup
    content = {
        "settings": asdict(settings(layout, secrets)),
        "artifacts": backup.artifacts,
        "verify": backup.verify,
        "prune": not backup.append_only,
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _writable(layout: Layout) -> list[str]:
    # A disk that is not mounted: the agent says so better than systemd.
    elsewhere = [f"-{layout.backup_folder}"] if layout.backup_folder else []
    return [str(layout.data), str(layout.backup_state), *elsewhere]


def crontab_line(layout: Layout) -> str:
    """What a person without systemd may add with `crontab -e`; "" where nothing is scheduled."""
    if not layout.deployment.backup.scheduled:
        return ""
    return timed.backup(layout).crontab_line(_TIMES[layout.deployment.backup.schedule])
