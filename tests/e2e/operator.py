"""A person at their own machine: own home, own deployment files, and everything they were ever shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab import LabHost

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Operator:
    """Runs the real command line. `shown` collects all of its output, for the test that greps it for secrets."""

    home: Path
    ssh_config: Path | None = None
    variables: dict[str, str] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the person who runs the tests, but how this machine reaches the package index."""
        kept = {
            name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if name in os.environ
        }
        own = {"HOME": str(self.home), "MLFLOW_PROVISION_CONFIG_DIR": str(self.config), "COLUMNS": "100"}
        own["MLFLOW_PROVISION_STATE_DIR"] = str(self.state)
        if self.ssh_config:
            own["MLFLOW_PROVISION_SSH_CONFIG"] = str(self.ssh_config)
        return {**kept, **own, "PYTHONPATH": str(REPOSITORY), **self.variables}

    @property
    def config(self) -> Path:
        return self.home / "deployments"

    @property
    def state(self) -> Path:
        return self.home / "state"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a command and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "mlflow_provision", *arguments],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int | None = 0, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and expect an exit code (None: any)."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            raise AssertionError(f"{arguments} took more than {timeout:.0f} s:\n{out}\n{err}") from None
        self.shown += [out, err]
        if code is not None:
            assert process.returncode == code, f"{arguments} ended with {process.returncode}:\n{out}\n{err}"
        return subprocess.CompletedProcess(list(arguments), process.returncode, out, err)

    def typed(self, *arguments: str, answers: Mapping[str, str], code: int = 0) -> str:
        """Run a command on a terminal and answer its questions (a pattern: what is typed unseen). What it showed."""
        import pexpect

        child = pexpect.spawn(
            sys.executable,
            ["-m", "mlflow_provision", *arguments],
            env={**self.environment, "TERM": "xterm-256color"},
            cwd=str(self.home),
            dimensions=(50, 120),
            encoding="utf-8",
            timeout=300,
        )
        while (asked := child.expect([*answers, pexpect.EOF])) < len(answers):
            self.shown += [child.before, child.after]
            child.waitnoecho(timeout=5)
            child.sendline(list(answers.values())[asked])
        child.close()
        self.shown.append(child.before)
        assert child.exitstatus == code, f"{arguments} ended with {child.exitstatus}:\n{child.before}"
        return str(child.before)

    def refused(self, *arguments: str, code: int = 1) -> str:
        """Run a command that must fail, and fail well: one error, the next command, no traceback. What it said."""
        said = self.run(*arguments, code=code).stderr
        lines = [line for line in said.splitlines() if line.strip()]
        assert sum(line.startswith("Error: ") for line in lines) == 1, said
        assert sum(line.startswith("  Next: ") for line in lines) == 1, said
        assert "Traceback" not in "".join(self.shown[-2:]), self.shown[-2:]
        return said

    def json(self, *arguments: str, code: int | None = 0) -> dict[str, Any]:
        """What a command answers with --json."""
        answer: dict[str, Any] = json.loads(self.run(*arguments, "--json", code=code).stdout)
        return answer

    def changed(self, *arguments: str) -> list[str]:
        """The steps that a setup changed."""
        return [step["step"] for step in self.json(*arguments)["steps"] if step["verdict"] == "changed"]

    def toml(self, name: str) -> Path:
        return self.config / f"{name}.toml"

    def edit(self, name: str, old: str, new: str) -> None:
        """Change the deployment file the way a person does."""
        text = self.toml(name).read_text()
        assert old in text, f"{old!r} is not in:\n{text}"
        self.toml(name).write_text(text.replace(old, new))


def on(host: LabHost) -> str:
    """How an operator calls a lab host."""
    return f"{host.user}@{host.name}"
