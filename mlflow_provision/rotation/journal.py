"""What a change of secrets has begun, for the day it is interrupted: a file of this machine that only you can open.

A new secret is in it before any server knows it: whatever happens in between, it is never lost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlflow_provision.config import deployment_path
from mlflow_provision.config.files import delete, read_private_text, write_whole
from mlflow_provision.config.places import rotation_path
from mlflow_provision.errors import ProvisionError

MODE = 0o600


def journal_path(name: str) -> Path:
    """The file of a deployment, there or not."""
    return rotation_path(deployment_path(name))


def begun(name: str, what: str) -> dict[str, str]:
    """What was noted of the change of `what` that has not ended; {} where none has begun."""
    return dict(_read(name).get(what, {}))


def note(name: str, what: str, **values: str) -> None:
    """Note secrets that are about to be used; what was noted before of the same change stays, unless it is given."""
    noted = _read(name)
    noted[what] = {**noted.get(what, {}), **values}
    write_whole(journal_path(name), json.dumps(noted, indent=1) + "\n", MODE)


def ended(name: str, what: str) -> None:
    """The change is complete, or was taken back."""
    noted = _read(name)
    noted.pop(what, None)
    if noted:
        write_whole(journal_path(name), json.dumps(noted, indent=1) + "\n", MODE)
    elif journal_path(name).exists():
        delete(journal_path(name))


def _read(name: str) -> dict[str, Any]:
    path = journal_path(name)
    if not path.exists():
        return {}
    try:
        noted = json.loads(read_private_text(path))
    except ValueError:
        noted = None
    if not isinstance(noted, dict):
        raise ProvisionError(
            f"{path} is not readable", f"it was changed by somebody; move it away: mv {path} {path}.old"
        )
    return noted
