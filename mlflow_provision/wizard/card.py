"""The facts about a host, as a few lines for a person."""

from __future__ import annotations

from typing import Any

from mlflow_provision.config import Deployment
from mlflow_provision.console.text import plural, size


def card(deployment: Deployment, facts: dict[str, Any]) -> list[str]:
    """OS, CPU, memory, disk, Python, and what is there already; each line fits 80 columns."""
    where = facts["hostname"] if deployment.host == "local" else deployment.host
    machine = [facts["arch"], plural(facts["cpus"], "CPU"), f"{size(facts['memory'])} memory"]
    lines = [
        ("Host", where),
        ("System", f"{facts['os']['name']}{'' if facts['systemd'] else ', without systemd'}"),
        ("Machine", ", ".join([*machine, f"{size(facts['disk_free'])} free for {facts['root']['path']}"])),
        ("Python", f"{facts['python']['version']} ({facts['python']['path']})"),
    ]
    return [f"{label:<10}{text}" for label, text in [*lines, *(("Found", what) for what in already(deployment, facts))]]


def already(deployment: Deployment, facts: dict[str, Any]) -> list[str]:
    """What is on the host that matters to a new server."""
    found = [
        f"the deployment {one['name']}: MLflow {one['mlflow_version']}, port {one['port']}"
        for one in facts["deployments"]
    ]
    if facts["root"]["state"] == "foreign":
        found.append(f"{facts['root']['path']}, which is not empty and not ours")
    if facts["old_server"]:
        found.append(f"an MLflow server that a script made, in {facts['old_server']['tree']}")
    owner = facts["port_owner"]
    if owner and not owner["ours"]:
        found.append(f"{owner['name']} on port {deployment.mlflow.port}")
    return found or ["nothing that is in the way"]
