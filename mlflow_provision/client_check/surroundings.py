"""The environment of the trial: what a Python needs, the login, and nothing that a cloud would know."""

from __future__ import annotations

import os
import site
from collections.abc import Mapping
from pathlib import Path

# How programs are found, texts are written and certificates are checked. Everything else stays outside.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SETTINGS = {
    "AWS_EC2_METADATA_DISABLED": "true",  # on an instance with a role, that role is not ours to use
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_CONFIG_FILE": "/dev/null",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own 7 take minutes to say what is wrong
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PYTHONUTF8": "1",
    "OMP_NUM_THREADS": "1",
}


def environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """For a process whose home is this empty folder; `variables` say where the server is, and who we are."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
    # With another home, what was installed with `pip install --user` would not be found.
    person = {"HOME": str(home), "PYTHONUSERBASE": site.getuserbase()}
    return {**kept, **person, **_SETTINGS, **variables}
