"""A server in the shape of MLflow's: a start script that records what it starts with, workers, and a health page."""

from __future__ import annotations

import shlex
import socket
import sys
from pathlib import Path

from mlflow_provision.agent.resources.background_process import BackgroundProcess

_PROGRAM = Path(__file__).with_name("tiny_server_program.py")


class TinyServer:
    """Its folder holds the script, the settings it is started with, and what it writes while it runs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.settings = folder / "server.env"
        self.settings.write_text("PORT=1\n")
        self.script = folder / "start.sh"
        self.port = _free_port()
        self.serve = " ".join(map(shlex.quote, [sys.executable, str(_PROGRAM), str(self.port), str(folder)]))
        self.write_script(f"exec {self.serve}")

    def write_script(self, body: str) -> None:
        """The start script: it records what it starts with, as the real one does, and then does `body`."""
        watched = f"{self.settings} {self.script}"
        self.script.write_text(f"#!/bin/sh\nsha256sum {watched} > {self.folder}/started-with\n{body}\n")
        self.script.chmod(0o755)

    @property
    def resource(self) -> BackgroundProcess:
        return BackgroundProcess(
            id="service",
            script=str(self.script),
            url=f"http://127.0.0.1:{self.port}",
            pid_file=str(self.folder / "server.pid"),
            log=str(self.folder / "server.log"),
            started_with=str(self.folder / "started-with"),
            watched=(str(self.settings), str(self.script)),
            restart_on=("server.env",),
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
