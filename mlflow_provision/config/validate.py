"""Is this a deployment that can be built? Every problem at once, before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_provision.config.deployment import Deployment
from mlflow_provision.config.rules.artifacts import artifacts_problems
from mlflow_provision.config.rules.auth import auth_problems
from mlflow_provision.config.rules.backup import backup_problems
from mlflow_provision.config.rules.gc import gc_problems
from mlflow_provision.config.rules.mlflow import mlflow_problems
from mlflow_provision.config.rules.target import target_problems
from mlflow_provision.errors import ExitCode, ProvisionError


def validate(deployment: Deployment) -> list[str]:
    """All problems, each starting with the path of its key; empty if it can be built."""
    return [
        *target_problems(deployment),
        *mlflow_problems(deployment),
        *artifacts_problems(deployment),
        *auth_problems(deployment.auth),
        *backup_problems(deployment),
        *gc_problems(deployment.gc),
    ]


def check(deployment: Deployment, source: str) -> None:
    """Raise one error that lists every problem; `source` says where the values come from."""
    refuse(validate(deployment), source)


def refuse(problems: Sequence[str], source: str) -> None:
    if not problems:
        return
    if len(problems) == 1:
        message = f"{source}: {problems[0]}"
    else:
        message = "\n".join([f"{source} has {len(problems)} problems:", *(f"  {problem}" for problem in problems)])
    raise ProvisionError(message, hint=f"correct {source} and run the command again", code=ExitCode.USAGE)
