"""What was deleted on a server goes for good: what the agent is asked, and what does it without an operator."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.collection.settings import Place, Settings
from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File
from mlflow_provision.blueprint import permissions, timed
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.timed import Times
from mlflow_provision.config import Deployment
from mlflow_provision.config.rules.gc import seconds
from mlflow_provision.layout import Layout

# By night, and after the backup: what goes is in one more backup.
_TIMES = {
    "daily": Times("*-*-* 04:30:00", "1h", "45 4 * * *"),
    "weekly": Times("Sun *-*-* 04:30:00", "1h", "45 4 * * 0"),
    "monthly": Times("*-*-01 04:30:00", "1h", "45 4 1 * *"),
}


def scheduled(layout: Layout) -> list[Resource]:
    """What cleans up by itself, or makes sure that nothing does. None of it restarts the server."""
    schedule = layout.deployment.gc.schedule
    if not layout.deployment.gc.scheduled:
        return timed.gc(layout).absent()
    return [
        Directory("gc-state", str(layout.gc_state), 0o700, layout.user, layout.user),
        File("gc-job", str(layout.gc_job), job(layout), *permissions.readable(layout)),
        *timed.gc(layout).units_of(schedule, _TIMES[schedule], _writable(layout)),
    ]


def settings(layout: Layout, older_than: str = "") -> Settings:
    """`older_than`: "" for what the deployment file says."""
    artifacts = layout.deployment.artifacts
    with_keys = artifacts.credentials in ("profile", "keys")
    return Settings(
        deployment=layout.deployment.name,
        user=layout.user,
        state=str(layout.gc_state),
        root=str(layout.root),
        host_lock=str(layout.lock),
        tracking=str(layout.database),
        users=str(layout.auth_database),
        release=str(layout.venv),
        place=Place(
            destination=layout.artifacts,
            region=artifacts.region,
            endpoint_url=artifacts.endpoint_url,
            credentials_file=str(layout.aws_credentials) if with_keys else "",
            profile=(artifacts.profile or "default") if with_keys else "",
        ),
        seconds=seconds(older_than or layout.deployment.gc.older_than),
    )


def gc_request(
    deployment: Deployment, facts: dict[str, Any], action: str, older_than: str = "", **choices: Any
) -> dict[str, Any]:
    """The data of the verb `gc`. `action`: "look" or "collect"; `choices`: before, orphans, sole_user."""
    wanted = settings(_layout(deployment, facts), older_than)
    alone = {} if action == "look" else changing(deployment, facts, f"gc {deployment.name}")
    return {"action": action, "settings": asdict(wanted), **choices, **alone}


def job(layout: Layout) -> str:
    """What a scheduled run does."""
    return json.dumps({"does": "gc", "settings": asdict(settings(layout))}, indent=1, sort_keys=True) + "\n"


def _writable(layout: Layout) -> list[str]:
    # A disk that is not mounted: the agent says so better than systemd.
    elsewhere = [f"-{layout.artifacts_elsewhere}"] if layout.artifacts_elsewhere else []
    return [str(layout.data), str(layout.gc_state), *elsewhere]


def gc_crontab_line(deployment: Deployment, facts: dict[str, Any]) -> str:
    """What a person without systemd may add with `crontab -e`; "" where nothing is scheduled."""
    layout = _layout(deployment, facts)
    if layout.system or not deployment.gc.scheduled:
        return ""
    return timed.gc(layout).crontab_line(_TIMES[deployment.gc.schedule])


def _layout(deployment: Deployment, facts: dict[str, Any]) -> Layout:
    return Layout(deployment, PurePosixPath(facts["root"]["path"]))
