"""uv, the installer: one pinned binary out of its wheel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlflow_provision.agent import command
from mlflow_provision.agent.names import BESIDE
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Change, Context


@dataclass(frozen=True)
class Uv:
    """The uv binary at `path`, from the package index. `wheels` is {architecture: [file name, sha256 of the wheel]}."""

    id: str
    path: str
    version: str
    wheels: dict[str, tuple[str, str]]
    index_url: str = ""

    @property
    def title(self) -> str:
        return f"uv {self.version}"

    def check(self, context: Context) -> Change | None:
        if not Path(self.path).exists():
            return Change("download, check the sha256, install")
        installed = command.capture([self.path, "--version"]).split()
        current = installed[1] if len(installed) > 1 else "a broken uv"
        return Change(f"replace {current}") if current != self.version else None

    def apply(self, context: Context) -> None:
        # Imported late, here and below: nearly every run only checks.
        import io
        import zipfile

        name, sha256 = self.wheels[os.uname().machine]
        wheel = self._download(name, sha256, context)
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            member = next(entry for entry in archive.namelist() if entry.endswith(".data/scripts/uv"))
            binary = archive.read(member)
        target = Path(self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".uv{BESIDE}")
        beside.write_bytes(binary)
        beside.chmod(0o755)
        os.replace(beside, target)

    def _download(self, name: str, sha256: str, context: Context) -> bytes:
        import hashlib

        from mlflow_provision.agent import index

        url = index.links(self.index_url, "uv").get(name)
        if url is None:
            raise AgentError(
                f"the package index does not offer {name}", "choose a complete mirror: --index-url URL", "index"
            )
        parts = []
        with index.fetch(url) as response:
            size = int(response.headers.get("Content-Length") or 0)
            got = 0
            while chunk := response.read(1 << 20):
                if context.stopping():
                    raise AgentError("stopped while uv was downloading", kind="interrupted")
                parts.append(chunk)
                got += len(chunk)
                context.output(f"{got / 1e6:.0f} MB" + (f" of {size / 1e6:.0f} MB" if size else ""))
        wheel = b"".join(parts)
        actual = hashlib.sha256(wheel).hexdigest()
        if actual != sha256:
            raise AgentError(
                f"{name} from the package index has sha256 {actual}, expected {sha256}: not installed",
                "the download was damaged or the mirror serves another file: try again, or another --index-url",
                "index",
            )
        return wheel
