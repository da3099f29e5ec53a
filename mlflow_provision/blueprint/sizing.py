"""How large a server fits its host."""

from __future__ import annotations

from typing import Any

from mlflow_provision.config import Deployment

_GIB = 1 << 30


def workers(deployment: Deployment, facts: dict[str, Any]) -> int:
    """Worker processes: what the deployment says, else one, and on a large host more.

    One is the better default: a worker takes about 430 MB, each has its own cache of checked passwords (so with
    several a changed password lives on for a minute), and one answers 130-180 requests a second.
    """
    if deployment.mlflow.workers is not None:
        return deployment.mlflow.workers
    if facts["memory"] >= 31 * _GIB and facts["cpus"] >= 8:
        return 4
    if facts["memory"] >= 15 * _GIB and facts["cpus"] >= 4:
        return 2
    return 1
