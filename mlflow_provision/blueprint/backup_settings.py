"""What of a deployment is backed up, where to, to whom encrypted, and how many backups are kept."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from mlflow_provision import __version__
from mlflow_provision.agent.backup.settings import Encryption, Keep, Place, Settings, Source
from mlflow_provision.backup_keys import from_passphrase, kdf_for, recipient_of
from mlflow_provision.config import Deployment, Secrets, missing_secrets
from mlflow_provision.config.deployment import OPERATOR
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.layout import Layout
from mlflow_provision.requirements import release_name

PYRAGE = "1.4.0"  # age for Python: one wheel for every Python and processor we support
AGE_REQUIREMENTS = (f"pyrage=={PYRAGE}",)


def settings(layout: Layout, secrets: Secrets) -> Settings:
    """What is backed up, where to, and by which rules."""
    backup = layout.deployment.backup
    return Settings(
        user=layout.user,
        state=str(layout.backup_state),
        source=source(layout),
        place=place(layout.deployment, secrets),
        encryption=encryption(layout, secrets),
        keep=Keep(backup.keep_last, backup.keep_daily, backup.keep_weekly, backup.keep_monthly),
        tool_version=__version__,
        ping_url=secrets.backup_ping_url,
    )


def source(layout: Layout) -> Source:
    """What cannot be made again. Artifacts in a bucket are elsewhere already."""
    with_artifacts = layout.deployment.backup.artifacts and "://" not in layout.artifacts
    files = (layout.secrets_env, layout.server_env, layout.auth_config, layout.state, layout.deployment_file)
    return Source(
        deployment=layout.deployment.name,
        databases={path.name: str(path) for path in (layout.database, layout.auth_database)},
        files={path.name: str(path) for path in files},
        artifacts=layout.artifacts if with_artifacts else "",
        venv=str(layout.venv),
    )


def place(deployment: Deployment, secrets: Secrets) -> Place:
    """Where backups are, and the keys for it: those of the artifacts, unless it has credentials of its own."""
    backup, artifacts = deployment.backup, deployment.artifacts
    if backup.with_operator:
        return Place(OPERATOR + str(operator_folder(backup.destination)))
    if not backup.on_s3:
        return Place(backup.destination)
    if backup.credentials:
        keys = (secrets.backup_access_key_id, secrets.backup_secret_access_key, "")
        own = backup.credentials in ("profile", "keys")
        return Place(backup.destination, backup.region, backup.endpoint_url, *(keys if own else ("", "", "")))
    keys = (secrets.aws_access_key_id, secrets.aws_secret_access_key, secrets.aws_session_token)
    shared = artifacts.credentials in ("profile", "keys")
    region = backup.region or artifacts.region
    return Place(backup.destination, region, artifacts.endpoint_url, *(keys if shared else ("", "", "")))


def operator_folder(destination: str) -> Path:
    """The folder on this machine that `operator:~/folder` names."""
    return Path(destination.removeprefix(OPERATOR)).expanduser()


def encryption(layout: Layout, secrets: Secrets) -> Encryption:
    """To whom backups are encrypted. The passphrase stays here: the host gets the recipient that belongs to it."""
    backup = layout.deployment.backup
    python = str(age_venv(layout) / "bin" / "python")
    if backup.encryption == "recipient":
        return Encryption(backup.recipient, {}, python)
    if backup.encryption == "passphrase":
        kdf = kdf_for(backup.destination, layout.deployment.name)
        return Encryption(recipient_of(from_passphrase(passphrase(layout.deployment, secrets), kdf)), kdf, python)
    return Encryption(python=python)


def passphrase(deployment: Deployment, secrets: Secrets) -> str:
    """The one of the secrets file; raises ProvisionError where it is missing."""
    if problems := missing_secrets(deployment, secrets):
        raise ProvisionError("\n".join(problems), "write them there, then run the same command again", ExitCode.USAGE)
    return secrets.backup_passphrase


def age_venv(layout: Layout) -> PurePosixPath:
    """The venv that has age, whether or not it is installed."""
    return layout.tools / release_name(f"pyrage-{PYRAGE}", AGE_REQUIREMENTS, ())
