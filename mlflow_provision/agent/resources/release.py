"""One installed MLflow: a venv that several deployments can share."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlflow_provision.agent import command
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Change, Context
from mlflow_provision.agent.resources.file import replace

STAMP = "release.json"


@dataclass(frozen=True)
class Release:
    """A venv at `path` with `requirements` under `constraints`, on a Python in the range `python`.

    The stamp is written last: a venv without it is half built, and is built again.
    """

    id: str
    path: str
    uv: str
    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    python: str
    pythons: str
    cache: str = ""
    index_url: str = ""

    @property
    def title(self) -> str:
        return f"release {Path(self.path).name}"

    def check(self, context: Context) -> Change | None:
        if not Path(self.path).exists():
            return Change("install " + ", ".join(self.requirements))
        try:
            stamp = json.loads((Path(self.path) / STAMP).read_text())
        except (OSError, ValueError):
            return Change("install again: it is only half installed")
        if not os.access(Path(self.path) / "bin" / "python", os.X_OK):
            return Change(f"install again: its Python ({stamp.get('python', '?')}) is gone")
        return None

    def apply(self, context: Context) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._uv(context, "venv", "--python", self.python, "--no-project", self.path)
            constraints = Path(self.path) / "constraints.txt"
            constraints.write_text("".join(line + "\n" for line in self.constraints))
            python = str(Path(self.path) / "bin" / "python")
            self._uv(
                context, "pip", "install", "--python", python, "--constraints", str(constraints), *self.requirements
            )
        except command.CommandFailed as failure:
            shutil.rmtree(self.path, ignore_errors=True)
            raise _explained(failure, self.requirements) from None
        stamp = {
            "requirements": self.requirements,
            "python": os.path.realpath(python),
            "packages": sorted(
                p.name[: -len(".dist-info")] for p in Path(self.path).glob("lib/python*/site-packages/*.dist-info")
            ),
        }
        replace(str(Path(self.path) / STAMP), json.dumps(stamp, indent=1) + "\n", 0o644)

    def _uv(self, context: Context, *arguments: str) -> None:
        environment = {
            "HOME": os.environ.get("HOME", "/root"),
            "UV_SYSTEM_CERTS": "1",  # trust what the host trusts: company proxies have their own CA
            "UV_PYTHON_PREFERENCE": "system",
            "UV_PYTHON_INSTALL_DIR": self.pythons,
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
            "UV_HTTP_TIMEOUT": "60",
        }
        inherited = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE")
        environment.update({name: os.environ[name] for name in inherited if name in os.environ})
        if os.geteuid() != 0:
            environment["PATH"] = os.environ.get("PATH", command.SYSTEM_PATH)
        if self.cache:
            environment["UV_CACHE_DIR"] = self.cache
        if self.index_url:
            environment["UV_DEFAULT_INDEX"] = self.index_url
        command.run([self.uv, *arguments], env=environment, output=context.output, stopping=context.stopping)


def _explained(failure: command.CommandFailed, requirements: tuple[str, ...]) -> AgentError:
    text = "\n".join(failure.lines)
    wanted = ", ".join(requirements)
    if "No space left" in text:
        return AgentError(
            f"the disk is full: {wanted} could not be installed", "free about 1.5 GB and run it again", "disk"
        )
    if "No solution found" in text or "no version of" in text:
        cause = text[text.find("cause:") + 6 :] if "cause:" in text else text
        return AgentError(
            f"the package index has no set of packages for {wanted}: {' '.join(cause.split())}",
            "choose another version: --mlflow-version VERSION (or `latest`: the newest that installs)",
            "version",
        )
    if "No interpreter found" in text or "python-build-standalone" in text or "Python interpreter" in text:
        return AgentError(
            "this host has no Python that MLflow supports, and one could not be downloaded:\n"
            + "\n".join(failure.lines[-5:]),
            "install Python 3.10 or newer on the host, or let it download one",
            "python",
        )
    if "Failed to fetch" in text or "error sending request" in text:
        reasons = [line.partition(": ")[2] for line in failure.lines if "error:" in line or "cause:" in line]
        return AgentError(
            f"uv could not download {wanted}: {'; '.join(reasons)}",
            "let the host reach the package index (security group, proxy, DNS), or name a mirror: --index-url URL",
            "index",
        )
    return AgentError(
        f"installing {wanted} failed:\n" + "\n".join(failure.lines[-15:]), "fix the cause and run it again", "install"
    )
