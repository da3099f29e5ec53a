"""What a person types to start us."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

NAME = "mlflow-provision"


def program() -> str:
    """Our name where the shell finds it; else, in a virtual environment that is not active, the path to us."""
    started = Path(sys.argv[0])
    if started.name != NAME:
        return NAME
    found = shutil.which(NAME)
    if found and Path(found).resolve() == started.resolve():
        return NAME
    return shlex.quote(str(started.absolute()))
