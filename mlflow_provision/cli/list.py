"""`list`: the deployments of this operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.command import reports
from mlflow_provision.errors import ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("list")
@reports
def list_command(console: Console) -> None:
    """List the deployments known on this machine, from their files: no host is asked."""
    from mlflow_provision.config import config_dir, names

    rows = [_row(name) for name in names()]
    console.document.details["deployments"] = rows
    if not rows:
        console.say(f"No deployment yet, in {config_dir()}. Make one: mlflow-provision setup local")
        return
    console.table(("NAME", "HOST", "MLFLOW", "PORT", "ARTIFACTS"), [_shown(row) for row in rows])


def _shown(row: dict[str, Any]) -> list[str]:
    if row["error"]:
        return [row["name"], "its file cannot be used: mlflow-provision plan " + row["name"], "", "", ""]
    return [
        row["name"],
        row["host"],
        row["mlflow_version"],
        str(row["port"]),
        row["artifacts"] or "beside the database",
    ]


def _row(name: str) -> dict[str, Any]:
    """One deployment; a file that cannot be read is listed with the reason."""
    from mlflow_provision.config import deployment_path, load

    row: dict[str, Any] = dict.fromkeys(("host", "mlflow_version", "port", "artifacts", "file", "error"))
    row["name"] = name
    try:
        path = deployment_path(name)
        deployment = load(path)
    except ProvisionError as error:
        return row | {"error": error.message}
    return row | {
        "host": deployment.host,
        "mlflow_version": deployment.mlflow.version,
        "port": deployment.mlflow.port,
        "artifacts": deployment.artifacts.destination,
        "file": str(path),
    }
