"""Resolve what goes with an MLflow version: `python -m mlflow_provision.constraints [VERSION]`, with `uv` on PATH."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlflow_provision.config import DEFAULT_MLFLOW_VERSION

OLDEST_PYTHON = "3.10"
EXTRAS = ("boto3",)  # pinned too: a constraint costs nothing where the package is not asked for


def main(version: str = DEFAULT_MLFLOW_VERSION) -> None:
    """Write the constraints of one version beside this file."""
    target = Path(__file__).with_name(f"mlflow-{version}.txt")
    pins = resolve(version)
    heading = f"# What goes with MLflow {version}. Regenerate with: python -m mlflow_provision.constraints {version}"
    target.write_text("\n".join([heading, *pins]) + "\n", "utf-8")
    print(f"{target}: {len(pins)} pins")


def resolve(version: str) -> list[str]:
    """The newest packages that work together on every supported Python, one `name==version ; marker` a line."""
    command = ["uv", "pip", "compile", "--universal", "--python-version", OLDEST_PYTHON]
    command += ["--no-header", "--no-annotate", "--no-config", "--quiet", "-"]
    wanted = "\n".join([f"mlflow[auth]=={version}", *EXTRAS])
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "1"}
    compiled = subprocess.run(command, input=wanted, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [line for line in compiled.stdout.splitlines() if line and not line.endswith("; sys_platform == 'win32'")]


if __name__ == "__main__":
    main(*sys.argv[1:2])
