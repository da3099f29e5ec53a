"""A server in the background of a person's own account: no root, no systemd."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from mlflow_provision.agent import process_group, running
from mlflow_provision.agent.memory import proportional
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Change, Context

_LOG_LIMIT = 20 << 20  # bytes; a longer log is set aside at the next start


@dataclass(frozen=True)
class BackgroundProcess:
    """A process group started from `script`, known by its pid file, healthy at `url`."""

    id: str
    script: str
    url: str
    pid_file: str
    log: str
    started_with: str
    watched: tuple[str, ...]
    restart_on: tuple[str, ...]

    @property
    def title(self) -> str:
        return "background process"

    def check(self, context: Context) -> Change | None:
        if self._pid() == 0:
            return Change("start")
        reasons = [name for name in self.restart_on if name in context.changed]
        reasons = reasons or [Path(path).name for path in running.stale(self.started_with, self.watched)]
        if reasons:
            return Change("restart (changed: {})".format(", ".join(reasons)))
        unhealthy = running.health(self.url)
        return Change(f"restart ({unhealthy})") if unhealthy else None

    def apply(self, context: Context) -> None:
        self.restart(context.stopping)

    def start(self, stopping: Callable[[], bool]) -> dict[str, Any]:
        """Start unless it runs; returns the status once healthy."""
        if self._pid() == 0:
            process_group.end(self.pid_file)  # workers that a killed server left behind still hold the port
            self._spawn()
            self._wait(stopping)
        elif running.health(self.url):
            return self.restart(stopping)
        return self.status()

    def restart(self, stopping: Callable[[], bool]) -> dict[str, Any]:
        """Stop, start; returns the status once healthy."""
        self.stop(stopping)
        return self.start(stopping)

    def stop(self, stopping: Callable[[], bool]) -> dict[str, Any]:
        """End the whole process group; returns when it is gone."""
        process_group.end(self.pid_file)
        return self.status()

    def status(self) -> dict[str, Any]:
        """What runs: `running`, `healthy`, `pid`, `seconds` up, `memory` (bytes, PSS), `restarts`, `problem`."""
        pid = self._pid()
        problem = running.health(self.url) if pid else ""
        if not Path(self.script).exists():
            problem = "not set up on this host"
        return {
            "running": pid != 0,
            "healthy": pid != 0 and not problem,
            "enabled": False,
            "pid": pid,
            "seconds": process_group.age(pid),
            "memory": proportional(self.pids()) if pid else 0,
            "restarts": 0,
            "problem": problem,
        }

    def pids(self) -> list[int]:
        """Every process of the group."""
        pid = self._pid()
        return process_group.members(pid) if pid else []

    def _spawn(self) -> None:
        if not os.access(self.script, os.X_OK):
            raise AgentError(f"there is no {self.script}", "set it up: mlflow-provision setup NAME")
        log = Path(self.log)
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            os.replace(log, log.with_suffix(".log.1"))
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as handle:
            handle.write(f"--- start {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            handle.flush()
            process = subprocess.Popen(
                [self.script],
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=handle,
                start_new_session=True,
                env=_environment(),
            )
        process_group.remember(self.pid_file, process.pid)

    def _wait(self, stopping: Callable[[], bool]) -> None:
        def last_words() -> str:
            return running.relevant(self._log_of_this_start()) or "it printed nothing"

        def died() -> str:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)  # a child that died stays in the process table until someone asks
            return "" if self._pid() else last_words()

        try:
            running.wait_healthy(self.url, died, stopping, ours=lambda pid: pid in self.pids())
        except AgentError as error:
            said = f"; it said:\n{last_words()}" if error.kind == "unhealthy" else ""
            raise AgentError(error.message + said, error.hint or f"read more: less {self.log}", error.kind) from None

    def _log_of_this_start(self) -> list[str]:
        lines = Path(self.log).read_text(errors="replace").splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("--- start ")]
        return lines[starts[-1] + 1 :] if starts else lines

    def _pid(self) -> int:
        return process_group.leader(self.pid_file)


def _environment() -> dict[str, str]:
    kept = (
        "HOME",
        "PATH",
        "LANG",
        "USER",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "AWS_CA_BUNDLE",
        "TZ",
    )
    return {name: os.environ[name] for name in kept if name in os.environ}
