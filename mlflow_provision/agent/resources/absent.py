"""What `destroy` leaves behind: nothing."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from mlflow_provision.agent import audit, command, process_group
from mlflow_provision.agent.names import MARKER
from mlflow_provision.agent.resources.base import Change, Context


@dataclass(frozen=True)
class PathAbsent:
    """No file or folder at `path`."""

    id: str
    path: str

    @property
    def title(self) -> str:
        return self.path

    def check(self, context: Context) -> Change | None:
        return Change("remove") if os.path.lexists(self.path) else None

    def apply(self, context: Context) -> None:
        remove(Path(self.path))


def remove(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class ServiceAbsent:
    """The unit is stopped, disabled and its file gone."""

    id: str
    unit: str
    unit_file: str

    @property
    def title(self) -> str:
        return self.unit

    def check(self, context: Context) -> Change | None:
        # A unit whose file somebody removed by hand runs on.
        if os.path.lexists(self.unit_file) or command.capture(["systemctl", "is-active", self.unit]):
            return Change("stop, disable, remove")
        return None

    def apply(self, context: Context) -> None:
        command.run(["systemctl", "stop", self.unit])
        command.capture(["systemctl", "disable", "--quiet", self.unit])
        Path(self.unit_file).unlink(missing_ok=True)
        command.run(["systemctl", "daemon-reload"])
        command.capture(["systemctl", "reset-failed", self.unit])


@dataclass(frozen=True)
class UserAbsent:
    """No system user of this name, if it is ours (its home is `home`)."""

    id: str
    name: str
    home: str

    @property
    def title(self) -> str:
        return f"user {self.name}"

    def check(self, context: Context) -> Change | None:
        try:
            account = pwd.getpwnam(self.name)
        except KeyError:
            return None
        return Change("remove") if account.pw_dir == self.home else None

    def apply(self, context: Context) -> None:
        command.run(["userdel", self.name])


@dataclass(frozen=True)
class ProcessAbsent:
    """The background process of this pid file is ended."""

    id: str
    pid_file: str

    @property
    def title(self) -> str:
        return "background process"

    def check(self, context: Context) -> Change | None:
        return Change("stop") if process_group.group(self.pid_file) else None

    def apply(self, context: Context) -> None:
        process_group.end(self.pid_file)


@dataclass(frozen=True)
class SharedAbsent:
    """Nothing under `root` that no deployment uses any more: its releases, and with the last deployment everything."""

    id: str
    root: str
    cache: str = ""

    @property
    def title(self) -> str:
        return f"what no deployment under {self.root} uses"

    def check(self, context: Context) -> Change | None:
        if not context.changed and not self._unused():
            return None
        return Change("remove")

    def apply(self, context: Context) -> None:
        for path in self._unused():
            audit.unprotect(str(path))
            remove(path)
        for folder in [Path(self.root), *([Path(self.cache).parent] if self.cache else [])]:
            if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                folder.rmdir()

    def _unused(self) -> list[Path]:
        root = Path(self.root)
        if not (root / MARKER).exists():
            return []
        used = {Path(os.readlink(link)).name for link in root.glob("*/venv") if link.is_symlink()}
        if used:
            releases = root / "releases"
            return [release for release in releases.iterdir() if release.name not in used] if releases.is_dir() else []
        shared = [root / name for name in ("bin", "python", "releases", "tools", ".lock")]
        # In this order: a destroy that was killed begins with the marker again.
        some = [entry for entry in root.iterdir() if entry.is_dir() and entry not in shared]
        last = [] if some else [root / audit.FILE, root / MARKER]
        # A cache that somebody mounted there is theirs.
        if self.cache and not os.path.ismount(self.cache):
            shared.append(Path(self.cache))
        shared += last  # what a destroy that was killed begins with again
        return [path for path in shared if os.path.lexists(path)]
