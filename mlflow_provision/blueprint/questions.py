"""What the agent is asked for a deployment: the data of the verbs `facts` and `verify`."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.resources import to_json
from mlflow_provision.blueprint import reach, service
from mlflow_provision.blueprint.resources import release_path
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.layout import Layout

DEFAULT_ROOTS = {"system": "/opt/mlflow", "user": "~/mlflow"}


def facts_request(deployment: Deployment) -> dict[str, Any]:
    """The data of the verb `facts`."""
    root = deployment.root or DEFAULT_ROOTS[deployment.scope]
    layout = Layout(deployment, PurePosixPath(root))
    return {
        "root": root,
        "name": deployment.name,
        "port": deployment.mlflow.port,
        "unit": layout.unit if layout.system else "",
        "release": release_path(layout).name,
        "index_url": deployment.mlflow.index_url,
    }


def verify_request(
    deployment: Deployment, secrets: Secrets, facts: dict[str, Any], level: str = "full", kill: bool = True
) -> dict[str, Any]:
    """The data of the verb `verify`. `level`: "quick" (reads only) or "full"; `kill`: prove it survives a crash."""
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    port = deployment.mlflow.port
    names = [*reach.LOOPBACK_NAMES[:2], *reach.outside_names(deployment, facts)]
    return {
        "url": service.url(layout),
        "listen": deployment.mlflow.listen,
        "port": port,
        "username": deployment.auth.admin_username,
        # The plan before a quick look has just checked the password against its hash; the server would need 0.2 s more.
        "password": secrets.admin_password if level == "full" else "",
        "hosts": [f"{name}:{port}" for name in names],
        "origins": [f"http://{name}:{port}" for name in names],
        "service": to_json(service.server(layout)),
        "unit": layout.unit if layout.system else "",
        "databases": {"tracking": str(layout.database), "auth": str(layout.auth_database)},
        "user": layout.user,
        "level": level,
        "kill": kill and level == "full",
    }
