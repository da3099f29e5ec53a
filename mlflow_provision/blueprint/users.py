"""What the agent is asked about the users of a server: the data of the verb `users`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.resources import to_json
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.resources import admin_user
from mlflow_provision.blueprint.service import server, url
from mlflow_provision.blueprint.sizing import workers
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.layout import Layout


def users_request(
    deployment: Deployment, secrets: Secrets, facts: dict[str, Any], action: str, what: str = "", **more: Any
) -> dict[str, Any]:
    """The data of the verb `users`. An `action` that changes something is called `what` in the host's log."""
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    # What is installed, whatever the deployment file asks for by now; and no database is made here.
    admin = replace(admin_user(layout, secrets), password="", release=str(layout.venv), tracking="")
    return {
        "action": action,
        "server": {
            "url": url(layout),
            "username": deployment.auth.admin_username,
            "password": secrets.admin_password,
            "workers": workers(deployment, facts),
            "service": to_json(server(layout)),
            "admin": to_json(admin),
            "venv": str(layout.venv),
            "database": str(layout.auth_database),
            "owner": layout.user,
        },
        **more,
        **(changing(deployment, facts, what) if what else {}),
    }
