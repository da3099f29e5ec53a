"""Where everything of a deployment lives on its host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from mlflow_provision.agent.audit import FILE as AUDIT
from mlflow_provision.config import Deployment

_UNITS = PurePosixPath("/etc/systemd/system")


@dataclass(frozen=True)
class TimerUnits:
    """A service that a timer starts; system scope only."""

    name: str

    @property
    def service(self) -> str:
        return f"{self.name}.service"

    @property
    def service_file(self) -> PurePosixPath:
        return _UNITS / self.service

    @property
    def timer(self) -> str:
        return f"{self.name}.timer"

    @property
    def timer_file(self) -> PurePosixPath:
        return _UNITS / self.timer


@dataclass(frozen=True)
class Layout:
    """Paths and names on the host. `root` is absolute: `~` is expanded by the host's own facts."""

    deployment: Deployment
    root: PurePosixPath

    @property
    def base(self) -> PurePosixPath:
        return self.root / self.deployment.name

    @property
    def marker(self) -> PurePosixPath:
        """Says that `root` is ours."""
        return self.root / ".mlflow-provision"

    @property
    def uv(self) -> PurePosixPath:
        return self.root / "bin" / "uv"

    @property
    def pythons(self) -> PurePosixPath:
        """Pythons that uv manages, used where the system has none that MLflow supports."""
        return self.root / "python"

    @property
    def releases(self) -> PurePosixPath:
        return self.root / "releases"

    @property
    def venv(self) -> PurePosixPath:
        return self.base / "venv"

    @property
    def start_script(self) -> PurePosixPath:
        return self.base / "start_mlflow_server.sh"

    @property
    def etc(self) -> PurePosixPath:
        return self.base / "etc"

    @property
    def secrets_env(self) -> PurePosixPath:
        return self.etc / "secrets.env"

    @property
    def server_env(self) -> PurePosixPath:
        return self.etc / "server.env"

    @property
    def auth_config(self) -> PurePosixPath:
        return self.etc / "basic_auth.ini"

    @property
    def aws_credentials(self) -> PurePosixPath:
        return self.etc / "aws" / "credentials"

    @property
    def aws_config(self) -> PurePosixPath:
        return self.etc / "aws" / "config"

    @property
    def deployment_file(self) -> PurePosixPath:
        """The operator's own, as it was applied: it is in every backup, for the day that machine is lost too."""
        return self.etc / "deployment.toml"

    @property
    def data(self) -> PurePosixPath:
        return self.base / "data"

    @property
    def temporary(self) -> PurePosixPath:
        """Where the server spools whole artifacts: /tmp may be memory."""
        return self.data / "tmp"

    @property
    def database(self) -> PurePosixPath:
        return self.data / "mlflow.db"

    @property
    def auth_database(self) -> PurePosixPath:
        return self.data / "basic_auth.db"

    @property
    def state(self) -> PurePosixPath:
        return self.base / "deployment.json"

    @property
    def notes(self) -> PurePosixPath:
        """What `status` remembers from one time to the next: free room on the disks, and the newest MLflow."""
        return self.base / "status.json"

    @property
    def unit(self) -> str:
        return f"mlflow-{self.deployment.name}.service"

    @property
    def unit_file(self) -> PurePosixPath:
        return _UNITS / self.unit

    @property
    def pid_file(self) -> PurePosixPath:
        """User scope only, as is `log`; in system scope systemd knows both."""
        return self.base / "server.pid"

    @property
    def log(self) -> PurePosixPath:
        return self.base / "server.log"

    @property
    def runtime(self) -> PurePosixPath:
        """Gone with the running server: in system scope systemd's RuntimeDirectory."""
        return PurePosixPath(f"/run/mlflow-{self.deployment.name}") if self.system else self.base / "run"

    @property
    def started_with(self) -> PurePosixPath:
        return self.runtime / "started-with"

    @property
    def lock(self) -> PurePosixPath:
        """One for the whole host: deployments share releases. Not in /run/lock, where anybody could hold it."""
        return PurePosixPath("/run/mlflow-provision.lock") if self.system else self.root / ".lock"

    @property
    def audit(self) -> PurePosixPath:
        """Who changed what on this host, of all deployments."""
        return self.root / AUDIT

    @property
    def tools(self) -> PurePosixPath:
        """Venvs of programs that are no MLflow; shared like the releases."""
        return self.root / "tools"

    @property
    def agent(self) -> PurePosixPath:
        """A copy of the agent, for what happens without an operator."""
        return self.base / "agent.zip"

    @property
    def backup(self) -> PurePosixPath:
        """Root's: what a restore moves aside, and its journal."""
        return self.base / "backup"

    @property
    def moves(self) -> PurePosixPath:
        """Root's: what moves of artifacts have copied, and from where."""
        return self.base / "moves"

    @property
    def backup_state(self) -> PurePosixPath:
        """The service user's: lock, scratch and what happened last."""
        return self.backup / "state"

    @property
    def backup_job(self) -> PurePosixPath:
        """What a scheduled backup does, keys of its place included."""
        return self.etc / "backup.json"

    @property
    def backup_units(self) -> TimerUnits:
        return TimerUnits(f"mlflow-{self.deployment.name}-backup")

    @property
    def gc_state(self) -> PurePosixPath:
        """The service user's: lock, and what happened last, of the collection of what was deleted."""
        return self.base / "gc"

    @property
    def gc_job(self) -> PurePosixPath:
        """What a scheduled collection does. It has no keys: those of the server are used."""
        return self.etc / "gc.json"

    @property
    def gc_units(self) -> TimerUnits:
        return TimerUnits(f"mlflow-{self.deployment.name}-gc")

    @property
    def cache(self) -> PurePosixPath | None:
        """uv's cache; in user scope uv's own default, which other programs share."""
        return PurePosixPath("/var/cache/mlflow-provision/uv") if self.system else None

    @property
    def system(self) -> bool:
        return self.deployment.scope == "system"

    @property
    def user(self) -> str:
        """The service user; in user scope the server runs as the person, and this is empty."""
        return f"mlflow-{self.deployment.name}" if self.system else ""

    @property
    def backup_folder(self) -> str:
        """This deployment's folder in a place on the host itself; "" where backups go elsewhere."""
        place = self.deployment.backup.destination
        return f"{place}/{self.deployment.name}" if place.startswith("/") else ""

    @property
    def artifacts(self) -> str:
        """What the server gets as --artifacts-destination."""
        return self.deployment.artifacts.destination or str(self.data / "artifacts")

    @property
    def artifacts_elsewhere(self) -> str:
        """A folder of artifacts on the host that is not in `data`, or ""."""
        elsewhere = self.artifacts.startswith("/") and not PurePosixPath(self.artifacts).is_relative_to(self.data)
        return self.artifacts if elsewhere else ""
