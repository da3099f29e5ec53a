"""What the host is asked, and what it does by itself: the right place, no secret, and none of it without a schedule."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mlflow_provision.agent.backup import scheduled as timers
from mlflow_provision.agent.collection.settings import settings
from mlflow_provision.blueprint import blueprint
from mlflow_provision.blueprint.collecting import gc_crontab_line, gc_request
from mlflow_provision.config import Deployment, Gc
from tests.unit.hosts import (
    BACKUP_FOLDER,
    GC_FOLDER,
    GC_LOCAL,
    INSTANCE_ROLE,
    LOCAL,
    S3_KEYS,
    S3_PROFILE,
    SECRETS,
    facts,
)


def by_id(deployment: Deployment) -> dict[str, Any]:
    return {resource.id: resource for resource in blueprint(deployment, SECRETS, facts(deployment))}


@pytest.mark.parametrize("deployment", [LOCAL, S3_KEYS, S3_PROFILE, INSTANCE_ROLE, GC_FOLDER])
def test_the_agent_understands_it_and_it_has_no_secret(deployment: Deployment) -> None:
    request = json.dumps(gc_request(deployment, facts(deployment), "look", orphans=False, sole_user=False))
    assert "CANARY" not in request
    understood = settings(json.loads(request))
    assert understood.place.on_s3 == deployment.artifacts.destination.startswith("s3://")
    with_keys = deployment.artifacts.credentials in ("keys", "profile")
    assert bool(understood.place.credentials_file) == with_keys
    profiles = {"profile": "basketworld", "keys": "default"}
    assert understood.place.profile == profiles.get(deployment.artifacts.credentials, "")


def test_only_a_removal_takes_the_lock_and_is_noted() -> None:
    assert not {"lock", "audit"} & set(gc_request(GC_FOLDER, facts(GC_FOLDER), "look"))
    request = gc_request(GC_FOLDER, facts(GC_FOLDER), "collect", before=1.0)
    assert {"lock", "audit", "what"} <= set(request) and request["before"] == 1.0


def test_a_schedule_brings_its_timer_and_goes_with_it() -> None:
    there = by_id(GC_FOLDER)
    assert type(there["gc-timer"]).__name__ == "Timer" and type(there["agent"]).__name__ == "InstalledAgent"
    assert json.loads(there["gc-job"].content)["settings"]["seconds"] == 14 * 86400
    absent = by_id(replace(GC_FOLDER, gc=Gc()))
    assert type(absent["gc-timer"]).__name__ == "TimerAbsent" and type(absent["gc-job"]).__name__ == "PathAbsent"
    assert type(absent["agent"]).__name__ == "PathAbsent"


def test_backups_and_this_share_the_program() -> None:
    both = blueprint(replace(BACKUP_FOLDER, gc=Gc("daily")), SECRETS, facts(BACKUP_FOLDER))
    agents = [resource for resource in both if resource.id == "agent"]
    assert [type(agent).__name__ for agent in agents] == ["InstalledAgent"]
    only = blueprint(replace(BACKUP_FOLDER, gc=Gc()), SECRETS, facts(BACKUP_FOLDER))
    assert [type(one).__name__ for one in only if one.id == "agent"] == ["InstalledAgent"]


def test_the_program_knows_this_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    job = tmp_path / "gc.json"
    job.write_text(by_id(GC_FOLDER)["gc-job"].content)
    done: list[dict[str, Any]] = []
    monkeypatch.setattr("sys.argv", ["agent.zip", str(job)])

    def serve(data: dict[str, Any], *_: Any) -> dict[str, Any]:
        done.append(data)
        return {"kept": [], "removed": {}}

    monkeypatch.setattr("mlflow_provision.agent.collection.serve", serve)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert timers.main() == 0 and done[0]["action"] == "collect" and "orphans" not in done[0]


def test_without_systemd_there_is_a_line_for_the_crontab() -> None:
    line = gc_crontab_line(GC_LOCAL, facts(GC_LOCAL))
    assert line.startswith("45 4 * * * /home/ada/mlflow/server/venv/bin/python -BEsSu ")
    assert line.endswith("/home/ada/mlflow/server/agent.zip /home/ada/mlflow/server/etc/gc.json")
    assert gc_crontab_line(GC_FOLDER, facts(GC_FOLDER)) == gc_crontab_line(LOCAL, facts(LOCAL)) == ""
