"""What `destroy` makes of a host: the same host without the deployment."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.absent import PathAbsent, ProcessAbsent, ServiceAbsent, SharedAbsent, UserAbsent
from mlflow_provision.blueprint import timed
from mlflow_provision.config import Deployment
from mlflow_provision.layout import Layout


def removal(deployment: Deployment, facts: dict[str, Any], delete_data: bool) -> list[Resource]:
    """Everything to take away, in order. Without `delete_data` the databases and artifacts stay where they are, with
    the secrets they were written with and the user they belong to. What other deployments share always stays, and so
    do backups, and artifacts outside of our own tree: in a bucket, or in a folder that may hold other things too."""
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    found: list[Resource] = (
        [
            timed.backup(layout).timer_absent(),
            timed.gc(layout).timer_absent(),
            ServiceAbsent("service", layout.unit, str(layout.unit_file)),
        ]
        if layout.system
        else [ProcessAbsent("service", str(layout.pid_file))]
    )
    if delete_data:
        found.append(PathAbsent("base", str(layout.base)))
        if layout.system:
            found.append(UserAbsent("user", layout.user, str(layout.base)))
    else:
        parts = [layout.venv, layout.start_script, layout.state, layout.pid_file, layout.log, layout.server_env]
        parts += [layout.auth_config, layout.aws_credentials.parent, layout.temporary]
        parts += [layout.deployment_file, layout.agent, layout.backup_job, layout.backup_state, layout.notes]
        parts += [layout.gc_job, layout.gc_state]
        found += [PathAbsent(part.name, str(part)) for part in parts]
        if not layout.system:
            found.append(PathAbsent("run", str(layout.runtime)))
    found.append(SharedAbsent("shared", str(layout.root), str(layout.cache or "")))
    return found
