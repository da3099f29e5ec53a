"""Where everything of a deployment lives on its host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from mlflow_provision.config import Deployment


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
    def data(self) -> PurePosixPath:
        return self.base / "data"

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
    def unit(self) -> str:
        return f"mlflow-{self.deployment.name}.service"

    @property
    def unit_file(self) -> PurePosixPath:
        return PurePosixPath("/etc/systemd/system") / self.unit

    @property
    def user(self) -> str:
        """The service user; in user scope the server runs as the person, and this is empty."""
        return f"mlflow-{self.deployment.name}" if self.deployment.scope == "system" else ""

    @property
    def artifacts(self) -> str:
        """What the server gets as --artifacts-destination."""
        return self.deployment.artifacts.destination or str(self.data / "artifacts")
