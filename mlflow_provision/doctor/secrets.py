"""What this machine should have: the secrets file, the AWS profile, a password that nobody guesses."""

from __future__ import annotations

import shlex
from pathlib import Path

from mlflow_provision.config import password_problem
from mlflow_provision.config.files import OPEN_TO_OTHERS, explained
from mlflow_provision.config.secrets_file import MODE
from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.catalog import CLOSE
from mlflow_provision.doctor.finding import BAD, OK, SKIPPED, WARN, Finding, found
from mlflow_provision.errors import ProvisionError

LEAST_LETTERS = 5  # different ones in a password

# What MLflow shipped, what guides show, and what people type first.
_EVERYBODYS = ("password", "admin", "mlflow", "changeme", "secret", "letmein", "qwerty", "welcome", "administrator")


def have_secrets(case: Case) -> Finding:
    """Load them into the case, as far as they are there."""
    from mlflow_provision.config import load_secrets, secrets_beside
    from mlflow_provision.deployment_keys import with_keys

    case.begin("credentials-here")
    if is_open(case):
        return found(
            "credentials-here",
            BAD,
            f"{_file(case)} has secrets in it, and others on this machine can open it",
            "Somebody changed its permissions, or copied it here.",
            f"chmod 600 {shlex.quote(str(_file(case)))}; change what may have been read: "
            "`mlflow-provision rotate password NAME`, `rotate aws`, `rotate secret`",
            CLOSE,
        )
    try:
        case.secrets = load_secrets(secrets_beside(case.path))
        case.deployment, case.secrets = with_keys(case.deployment, case.secrets)
    except ProvisionError as error:
        return found("credentials-here", BAD, error.message, remedy=error.hint)
    case.keys_known = True
    if not case.secrets.admin_password:
        return found(
            "credentials-here",
            WARN,
            f"the password of {case.deployment.auth.admin_username} is not known here",
            remedy="copy NAME.secrets.toml from where it was set up, or set MLFLOW_PROVISION_ADMIN_PASSWORD",
        )
    return found("credentials-here", OK, "all that it needs is here, closed to others")


def is_open(case: Case) -> bool:
    """Can others on this machine open the secrets file?"""
    try:
        return bool(_file(case).stat().st_mode & OPEN_TO_OTHERS)
    except OSError:
        return False


def close(case: Case) -> None:
    """Shut them out, and take up what it says."""
    with explained(_file(case), "close"):
        _file(case).chmod(MODE)
    case.findings = [one for one in case.findings if one.check not in ("credentials-here", "weak-password")]
    case.add(have_secrets(case), is_strong(case))


def _file(case: Case) -> Path:
    from mlflow_provision.config import secrets_beside, secrets_path

    return secrets_path(secrets_beside(case.path))


def is_strong(case: Case) -> Finding:
    """The password in the secrets file; what other users have is asked of the host."""
    password = case.secrets.admin_password
    if not password:
        return found("weak-password", SKIPPED, "it is not known here")
    verdict, why = judged(password, case.deployment.auth.admin_username)
    return found("weak-password", verdict, why)


def judged(password: str, username: str) -> tuple[str, str]:
    """Can the administrator's password be guessed? The verdict and why, without saying the password."""
    letters = password.lower().translate(str.maketrans("@0$1", "aosi")).strip("0123456789!.?-_ ios")
    if any(letters == known.strip("ios") for known in (*_EVERYBODYS, username.lower())):
        return BAD, "it is a well-known one, or the user's name, with some digits or signs"
    if problem := password_problem(password):
        return BAD, f"it {problem}"
    if len(set(password)) < LEAST_LETTERS or password.isdigit():
        return WARN, f"it is made of {len(set(password))} different characters" + ", all digits" * password.isdigit()
    return OK, f"{len(password)} characters"
