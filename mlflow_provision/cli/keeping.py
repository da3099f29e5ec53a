"""What setup keeps on the operator's side: the deployment file, and the secrets beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_provision.cli.target import Wanted
    from mlflow_provision.config import Deployment, Secrets
    from mlflow_provision.provision import Prepared

_ARTIFACTS_KEY = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_BACKUP_KEY = ("backup_access_key_id", "backup_secret_access_key")
_OF_BACKUPS = ("backup_passphrase", "backup_identity", "backup_ping_url")


def keep(want: Wanted, prepared: Prepared) -> None:
    """Save what was decided."""
    keep_both(want, prepared.deployment, prepared.secrets)


def keep_both(want: Wanted, deployment: Deployment, secrets: Secrets) -> None:
    """Save the secrets first, so that no server ever has a password that nobody knows; then the deployment."""
    from mlflow_provision.config import load, load_secrets, save, save_secrets

    stored = load_secrets(want.secrets_beside)
    typed = {"admin_password": secrets.admin_password}
    if deployment.artifacts.credentials == "keys":  # those of a profile stay in ~/.aws
        typed |= {name: getattr(secrets, name) for name in _ARTIFACTS_KEY}
    if deployment.backup.credentials == "keys":
        typed |= {name: getattr(secrets, name) for name in _BACKUP_KEY}
    typed |= {name: getattr(secrets, name) for name in _OF_BACKUPS if getattr(secrets, name)}
    wanted = replace(stored, **typed)
    if wanted != stored:
        save_secrets(want.secrets_beside, wanted)
    if want.source and not want.path.exists():
        want.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        want.path.unlink(missing_ok=True)  # a link to a file that is gone
        want.path.symlink_to(want.source.resolve())
    if not want.path.exists() or load(want.path) != deployment:
        save(deployment, want.path)
