"""Two lab hosts with a server of either kind; each is made when a part first asks for it."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from benchmarks.shell_script import ShellScript
from benchmarks.tool import Tool
from tests.lab import LabHost


class Hosts:
    """Use as a context; neither host has a package cache, so both install from nothing."""

    def __init__(self) -> None:
        self._ends = ExitStack()

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @cached_property
    def ours(self) -> Tool:
        """What mlflow-provision makes, with our defaults."""
        folder = Path(self._ends.enter_context(tempfile.TemporaryDirectory()))
        return Tool(self._blank("setting up with mlflow-provision"), folder).set_up()

    @cached_property
    def reference(self) -> ShellScript:
        """What the shell script makes, with MLflow's defaults."""
        return ShellScript(self._blank("setting up with the shell script")).set_up()

    def _blank(self, purpose: str) -> LabHost:
        host = self._ends.enter_context(LabHost(shared_cache=False))
        print(f"{host.name}: {purpose}", file=sys.stderr)
        return host
