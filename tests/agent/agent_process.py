"""The agent as a process of its own: requests go into a pipe, events come out of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from mlflow_provision.agent.protocol import Done, Event, decode

_REPOSITORY = Path(__file__).resolve().parents[2]
_PROGRAM = """
import json, sys
from mlflow_provision.agent.main import main
sys.exit(main(json.loads(sys.argv[1])))
"""


class AgentProcess:
    """`first` is its first request; stdin stays open until `hang_up`."""

    def __init__(self, verb: str, data: dict[str, Any] | None = None, path: str = "") -> None:
        argv = [sys.executable, "-c", _PROGRAM, json.dumps(_request(verb, data))]
        self.process = subprocess.Popen(
            argv,
            cwd=_REPOSITORY,
            env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._limit = threading.Timer(30, self.process.kill)
        self._limit.start()

    def event(self) -> Event:
        """The next event; anything else on stdout is an error."""
        assert self.process.stdout is not None
        return decode(self.process.stdout.readline())

    def answer(self) -> Done:
        """The end of the request that is being served."""
        while not isinstance(event := self.event(), Done):
            pass
        return event

    def ask(self, verb: str, data: dict[str, Any] | None = None) -> None:
        self._write(json.dumps(_request(verb, data)) + "\n")

    def sign_of_life(self) -> None:
        self._write("\n")

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> tuple[int, str]:
        """Wait for it; its exit code and what it wrote to stderr, which is a bug unless it is empty."""
        assert self.process.stderr is not None
        errors = self.process.stderr.read()
        return self.process.wait(), errors

    def _write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limit.cancel()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()


def _request(verb: str, data: dict[str, Any] | None) -> dict[str, Any]:
    return {"verb": verb, "data": data or {}, "operator": "ada@laptop"}
