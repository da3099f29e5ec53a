"""What the agent is asked when secrets of the server's own change: the data of the verb `rotate`."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.resources import to_json
from mlflow_provision.blueprint.changing import changing
from mlflow_provision.blueprint.questions import verify_request
from mlflow_provision.blueprint.resources import SERVER_SECRETS
from mlflow_provision.blueprint.service import server
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.layout import Layout


def rotate_request(deployment: Deployment, secrets: Secrets, facts: dict[str, Any]) -> dict[str, Any]:
    """The data of the verb `rotate`, for all secrets that were generated on the host."""
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    level = "full" if secrets.admin_password else "quick"
    return {
        "action": "secret",
        "deployment": deployment.name,
        "secrets_env": str(layout.secrets_env),
        "names": list(SERVER_SECRETS),
        "database": str(layout.database),
        "owner": layout.user,
        "venv": str(layout.venv),
        "config": str(layout.auth_config),
        "service": to_json(server(layout)),
        "verify": verify_request(deployment, secrets, facts, level, kill=False),
        "backup_lock": str(layout.backup_state / "lock"),
        **changing(deployment, facts, f"rotate secret {deployment.name}"),
    }
