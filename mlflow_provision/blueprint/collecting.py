"""What was deleted on a server goes for good: what the agent is asked, and what does it without an operator."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.collection.settings import Place, Settings
from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.absent import PathAbsent
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.timer import Timer, TimerAbsent
from mlflow_provision.blueprint import permissions
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.render import render
from mlflow_provision.blueprint.schedule import python
from mlflow_provision.config import Deployment
from mlflow_provision.config.rules.gc import seconds
from mlflow_provision.layout import Layout

# schedule → when in systemd's words, spread over how long, and when in those of cron. By night, and after the backup:
# what goes is in one more backup.
_TIMES = {
    "daily": ("*-*-* 04:30:00", "1h", "45 4 * * *"),
    "weekly": ("Sun *-*-* 04:30:00", "1h", "45 4 * * 0"),
    "monthly": ("*-*-01 04:30:00", "1h", "45 4 1 * *"),
}


def scheduled(layout: Layout) -> list[Resource]:
    """What cleans up by itself, or makes sure that nothing does. None of it restarts the server."""
    if not layout.deployment.gc.scheduled:
        absent: list[Resource] = [TimerAbsent("gc-timer", layout.gc_timer, layout.gc_unit)] if layout.system else []
        return [*absent, PathAbsent("gc-job", str(layout.gc_job))]
    root = permissions.root(layout)
    found: list[Resource] = [
        Directory("gc-state", str(layout.gc_state), 0o700, layout.user, layout.user),
        File("gc-job", str(layout.gc_job), job(layout), *permissions.readable(layout)),
    ]
    if layout.system:
        found += [
            File("gc-unit", str(layout.gc_unit_file), unit(layout), 0o644, *root),
            File("gc-timer-unit", str(layout.gc_timer_file), timer_unit(layout), 0o644, *root),
            Timer("gc-timer", layout.gc_timer, ("gc-unit", "gc-timer-unit")),
        ]
    return found


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


def unit(layout: Layout) -> str:
    writable = [str(layout.data), str(layout.gc_state)]
    if layout.artifacts.startswith("/") and not PurePosixPath(layout.artifacts).is_relative_to(layout.data):
        writable.append(f"-{layout.artifacts}")  # a disk that is not mounted: the agent says so better than systemd
    return render(
        "mlflow-gc.service",
        name=layout.deployment.name,
        user=layout.user,
        python=python(layout),
        agent=layout.agent,
        job=layout.gc_job,
        writable=writable,
    )


def timer_unit(layout: Layout) -> str:
    schedule = layout.deployment.gc.schedule
    calendar, jitter, _ = _TIMES[schedule]
    return render("mlflow-gc.timer", name=layout.deployment.name, schedule=schedule, calendar=calendar, jitter=jitter)


def gc_crontab_line(deployment: Deployment, facts: dict[str, Any]) -> str:
    """What a person without systemd may add with `crontab -e`; "" where nothing is scheduled."""
    layout = _layout(deployment, facts)
    if layout.system or not deployment.gc.scheduled:
        return ""
    return f"{_TIMES[deployment.gc.schedule][2]} {python(layout)} -BEsSu {layout.agent} {layout.gc_job}"


def _layout(deployment: Deployment, facts: dict[str, Any]) -> Layout:
    return Layout(deployment, PurePosixPath(facts["root"]["path"]))
