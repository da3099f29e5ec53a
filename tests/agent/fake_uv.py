"""A uv that makes the folder of a venv, notes how it was called, and fails as a test says."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


class FakeUv:
    """`uv venv` makes a folder with a Python; `uv pip install` puts an installed package into it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "uv"
        self._log = folder / "calls"
        self._trouble = folder / "trouble"
        log, trouble = shlex.quote(str(self._log)), shlex.quote(str(self._trouble))
        self.path.write_text(
            f"""#!/bin/sh
echo "$@" >> {log}
env > {log}.$1
for last; do :; done
case $1 in
venv)
    mkdir -p "$last/bin" "$last/lib/python3.11/site-packages"
    ln -s {shlex.quote(sys.executable)} "$last/bin/python"
    echo "Creating virtual environment at: $last" ;;
pip)
    echo "Resolved 96 packages in 12ms"
    if [ -e {trouble} ]; then . {trouble}; fi
    site=$(dirname "$4")/../lib/python3.11/site-packages
    cp "$6" "$site/../../../seen-constraints.txt"
    mkdir "$site/mlflow-3.17.2.dist-info" "$site/alembic-1.0.dist-info" ;;
esac
"""
        )
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def environment(self, command: str) -> dict[str, str]:
        """What the last `uv <command>` was started with."""
        lines = self._log.with_name(f"calls.{command}").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def fail(self, message: str, code: int = 1) -> None:
        """Let every `pip install` print this and end."""
        text = shlex.quote(message)
        self._trouble.write_text(f"printf '%s\\n' {text} >&2; exit {code}\n")

    def hang(self) -> None:
        """Let every `pip install` run until it is ended."""
        self._trouble.write_text("sleep 60 & wait\n")

    def recover(self) -> None:
        self._trouble.unlink()
