"""A copy of this program on the host, for what happens there without an operator."""

from __future__ import annotations

import functools
import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mlflow_provision.agent.names import BESIDE
from mlflow_provision.agent.resources import ownership
from mlflow_provision.agent.resources.base import Change, Context

_PACKAGE = "mlflow_provision/agent"
_MODE = 0o644

# What `python3 agent.zip` runs.
_MAIN = b"from mlflow_provision.agent.backup.scheduled import main\n\nraise SystemExit(main())\n"


@dataclass(frozen=True)
class InstalledAgent:
    """The program that runs right now, as a zip at `path` that Python can run. Nothing is sent for it."""

    id: str
    path: str
    owner: str = ""
    group: str = ""

    @property
    def title(self) -> str:
        return self.path

    def check(self, context: Context) -> Change | None:
        path = Path(self.path)
        if path.is_symlink() or not path.is_file():
            return Change("install")
        if path.read_bytes() != program():
            return Change("update")
        difference = ownership.difference(self.path, _MODE, self.owner, self.group)
        return Change(difference) if difference else None

    def apply(self, context: Context) -> None:
        target = Path(self.path)
        beside = target.with_name(f".{target.name}{BESIDE}")
        beside.unlink(missing_ok=True)
        with open(beside, "xb") as file:
            file.write(program())
            ownership.settle(file.fileno(), _MODE, self.owner, self.group)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)


@functools.lru_cache(maxsize=None)
def program() -> bytes:
    """The zip with all our modules. The same modules give the same bytes."""
    sources = _modules()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(sources):
            archive.writestr(zipfile.ZipInfo(name), sources[name])
    return buffer.getvalue()


def _modules() -> dict[str, bytes]:
    """Name in the zip → source; from the zip that the operator's side sent, or from the folder of the package."""
    package = Path(__file__).parents[1]
    found = {"__main__.py": _MAIN, "mlflow_provision/__init__.py": b""}
    outside = str(package)[: -len(_PACKAGE)].rstrip("/")
    if not package.is_dir():
        with zipfile.ZipFile(outside) as archive:
            return {**found, **{name: archive.read(name) for name in archive.namelist() if name.startswith(_PACKAGE)}}
    for path in package.rglob("*.py"):
        found[f"{_PACKAGE}/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    return found
