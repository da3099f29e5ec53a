"""From a deployment to the list of resources that make it."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Any

from mlflow_provision import __version__
from mlflow_provision.agent.names import MARKER
from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.generated_secrets import GeneratedSecrets
from mlflow_provision.agent.resources.record import Record
from mlflow_provision.agent.resources.sqlite_database import SqliteDatabase
from mlflow_provision.agent.resources.store_access import StoreAccess
from mlflow_provision.agent.resources.symlink import Symlink
from mlflow_provision.agent.resources.user import User
from mlflow_provision.agent.resources.uv import Uv
from mlflow_provision.blueprint import collecting, environment, permissions, schedule, service
from mlflow_provision.blueprint.render import render
from mlflow_provision.blueprint.venv import venv
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.layout import Layout
from mlflow_provision.requirements import constraints, release_name, requirements
from mlflow_provision.uv_pin import UV_VERSION, UV_WHEELS

SERVER_SECRETS = ("MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_CRYPTO_KEK_PASSPHRASE")
_AWS_SECRET_KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def blueprint(deployment: Deployment, secrets: Secrets, facts: dict[str, Any], operator: str = "") -> list[Resource]:
    """Every resource of a deployment, in the order in which they are made true.

    Access to the store is proved before anything is installed, and the service comes after all it is started with.
    """
    layout = Layout(deployment, PurePosixPath(facts["root"]["path"]))
    resources = [
        *_store(layout, secrets),
        *schedule.access(layout, secrets),
        *_release(layout),
        *_folders(layout),
        *_aws_files(layout, secrets),
        *_configuration(layout, facts),
        *_databases(layout, secrets),
        service.server(layout),
        *schedule.deployment_file(layout),
        *(schedule.ready(layout) if deployment.backup.destination else []),
        *schedule.scheduled(layout, secrets),
        *collecting.scheduled(layout),
    ]
    return [*resources, _record(layout, resources, operator)]


def release_path(layout: Layout) -> PurePosixPath:
    """The venv that this deployment runs on."""
    deployment = layout.deployment
    version = deployment.mlflow.version
    return layout.releases / release_name(version, requirements(deployment), constraints(version))


def _store(layout: Layout, secrets: Secrets) -> list[Resource]:
    artifacts = layout.deployment.artifacts
    if not artifacts.destination.startswith("s3://"):
        return []
    return [
        StoreAccess(
            id="store",
            destination=artifacts.destination,
            region=artifacts.region,
            endpoint_url=artifacts.endpoint_url,
            access_key_id=secrets.aws_access_key_id,
            secret_access_key=secrets.aws_secret_access_key,
            session_token=secrets.aws_session_token,
            state=str(layout.state),
        )
    ]


def _release(layout: Layout) -> list[Resource]:
    deployment = layout.deployment
    version = deployment.mlflow.version
    return [
        Directory("root", str(layout.root), 0o755, *permissions.root(layout)),
        File("marker", str(layout.root / MARKER), _MARKER_TEXT, 0o644, *permissions.root(layout)),
        Uv("uv", str(layout.uv), UV_VERSION, UV_WHEELS, deployment.mlflow.index_url),
        venv(layout, "release", release_path(layout), requirements(deployment), constraints(version)),
    ]


_MARKER_TEXT = "This folder belongs to mlflow-provision. `mlflow-provision destroy` removes what is in it.\n"


def _folders(layout: Layout) -> list[Resource]:
    owner = layout.user
    found: list[Resource] = [User("user", layout.user, str(layout.base))] if layout.system else []
    found += [
        Directory("base", str(layout.base), 0o755, *permissions.root(layout)),
        Directory("etc", str(layout.etc), *permissions.enterable(layout)),
        Directory("data", str(layout.data), 0o750 if layout.system else 0o700, owner, owner),
        Directory("tmp", str(layout.temporary), 0o700, owner, owner),
    ]
    if not layout.artifacts.startswith("s3://"):
        found.append(Directory("artifacts", layout.artifacts, 0o750, owner, owner))
    if not layout.system:
        found.append(Directory("run", str(layout.runtime), 0o700))
    return found


def _aws_files(layout: Layout, secrets: Secrets) -> list[Resource]:
    artifacts = layout.deployment.artifacts
    if artifacts.credentials not in ("profile", "keys"):
        return []
    common = {"name": layout.deployment.name, "profile": artifacts.profile or "default"}
    credentials = render(
        "aws/credentials",
        access_key_id=secrets.aws_access_key_id,
        secret_access_key=secrets.aws_secret_access_key,
        session_token=secrets.aws_session_token,
        **common,
    )
    folder, readable = str(layout.aws_credentials.parent), permissions.readable(layout)
    return [
        Directory("aws", folder, *permissions.enterable(layout)),
        File("aws-credentials", str(layout.aws_credentials), credentials, *readable, _AWS_SECRET_KEYS),
        File(
            "aws-config",
            str(layout.aws_config),
            render("aws/config", region=artifacts.region, **common),
            *readable,
        ),
    ]


def _configuration(layout: Layout, facts: dict[str, Any]) -> list[Resource]:
    deployment, name = layout.deployment, layout.deployment.name
    auth = render(
        "basic_auth.ini",
        name=name,
        default_permission=deployment.auth.default_permission,
        admin_username=deployment.auth.admin_username,
        auth_database=layout.auth_database,
        older_than_3_16=environment.version_tuple(deployment) < (3, 16),
    )
    env = render("server.env", name=name, environment=environment.server(layout, facts))
    script = render(
        "start_mlflow_server.sh",
        name=name,
        system=layout.system,
        data=layout.data,
        venv=layout.venv,
        secrets_env=layout.secrets_env,
        server_env=layout.server_env,
        runtime=layout.runtime,
        started_with=layout.started_with,
        watched=service.watched(layout),
    )
    readable = permissions.readable(layout)
    found: list[Resource] = [
        GeneratedSecrets("secrets.env", str(layout.secrets_env), SERVER_SECRETS, *readable),
        File("server.env", str(layout.server_env), env, *readable),
        File("basic_auth.ini", str(layout.auth_config), auth, *readable, ("admin_password",)),
        Symlink("venv", str(layout.venv), str(release_path(layout))),
        File("start-script", str(layout.start_script), script, 0o755, *permissions.root(layout)),
    ]
    if layout.system:
        writable = [layout.data]
        if layout.artifacts_elsewhere:
            writable.append(PurePosixPath(layout.artifacts_elsewhere))
        unit = render(
            "mlflow.service",
            name=name,
            user=layout.user,
            data=layout.data,
            start_script=layout.start_script,
            writable=writable,
        )
        found.append(File("unit", str(layout.unit_file), unit, 0o644, *permissions.root(layout)))
    return found


def admin_user(layout: Layout, secrets: Secrets) -> AdminUser:
    """The administrator, in the auth database."""
    return AdminUser(
        id="admin",
        username=layout.deployment.auth.admin_username,
        password=secrets.admin_password,
        database=str(layout.auth_database),
        release=str(release_path(layout)),
        config=str(layout.auth_config),
        owner=layout.user,
        tracking=str(layout.database),
    )


def _databases(layout: Layout, secrets: Secrets) -> list[Resource]:
    return [admin_user(layout, secrets), SqliteDatabase("database", str(layout.database), layout.user)]


def _record(layout: Layout, resources: list[Resource], operator: str) -> Resource:
    deployment = layout.deployment
    files = [resource for resource in resources if isinstance(resource, File) and not resource.secret_keys]
    facts = {
        "name": deployment.name,
        "tool_version": __version__,
        "mlflow_version": deployment.mlflow.version,
        "release": release_path(layout).name,
        "listen": deployment.mlflow.listen,
        "port": deployment.mlflow.port,
        "artifacts": layout.artifacts,
        "store_proof": "",
        **{resource.proof_name: resource.proof() for resource in resources if isinstance(resource, StoreAccess)},
        "hashes": {file.path: hashlib.sha256(file.content.encode()).hexdigest() for file in files},
    }
    return Record("record", str(layout.state), facts, operator)
