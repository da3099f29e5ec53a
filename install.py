#!/usr/bin/env python3
"""Install mlflow-provision into .venv beside this file, then run it with the arguments given.

Needs nothing but Python 3.10 and a way to the package index: no root, no pip, no venv package. uv is fetched the way
the tool itself fetches it for a server: one pinned wheel, its sha256 checked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
COMMAND = VENV / "bin" / "mlflow-provision"


def main() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036 - this file is run by whatever python3 is
        found = sys.version.split()[0]
        sys.exit(f"error: Python 3.10 or newer is needed, this is {found}: try python3.12 {sys.argv[0]}")
    if not COMMAND.exists():
        install()
    if len(sys.argv) > 1:
        os.execv(COMMAND, [str(COMMAND), *sys.argv[1:]])  # noqa: S606 - there is no shell
    print(f"Installed. Run it as {COMMAND}, or make it a command: ln -s {COMMAND} ~/.local/bin/")


def install() -> None:
    """Both the virtual environment and everything in it come from uv."""
    sys.path.insert(0, str(HERE))
    from mlflow_provision.agent.protocol import AgentError
    from mlflow_provision.agent.resources.base import Context
    from mlflow_provision.agent.resources.uv import Uv
    from mlflow_provision.uv_pin import UV_VERSION, UV_WHEELS

    print(f"Installing mlflow-provision into {VENV}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        uv = Uv("uv", f"{folder}/uv", UV_VERSION, UV_WHEELS)
        try:
            uv.apply(Context())
        except AgentError as error:
            sys.exit(f"error: {error.message}\n  {error.hint}")
        environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "VIRTUAL_ENV": str(VENV)}
        for step in (
            ["venv", "--quiet", "--allow-existing", "--seed", "--python", sys.executable, str(VENV)],
            ["pip", "install", "--quiet", "--editable", str(HERE)],
        ):
            if subprocess.run([uv.path, *step], env=environment, check=False).returncode != 0:
                sys.exit(f"error: `uv {' '.join(step[:2])}` failed; what it says is above")


if __name__ == "__main__":
    main()
