"""What belongs to a backup beside databases and artifacts: secrets and configuration, and what made them."""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path

from mlflow_provision.agent.databases.snapshot import SOURCE
from mlflow_provision.agent.protocol import AgentError

FILES = "files.tar"  # of the member
_LARGEST = 16 << 20  # bytes; these are files that people write


def packed(files: dict[str, str]) -> bytes:
    """A tar of these files. Raises AgentError of kind "source" for one that is missing: a backup without it would be
    found out on the day it is needed."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(files.items()):
            if not os.path.isfile(path):
                raise AgentError(f"{path} is missing, which belongs to every backup", "run setup again", SOURCE)
            data = Path(path).read_bytes()
            if len(data) > _LARGEST:
                raise AgentError(
                    f"{path} has {len(data)} bytes, which is no configuration", f"see: ls -la {path}", SOURCE
                )
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(os.stat(path).st_mtime)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def names(content: bytes) -> list[str]:
    """The files in such a tar. Raises AgentError of kind "damaged"."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            return archive.getnames()
    except (tarfile.TarError, EOFError) as error:
        raise AgentError(f"it cannot be unpacked: {error}", kind="damaged") from None


def python_version(venv: str) -> str:
    """The Python of a virtual environment, as it says itself; "" when it does not."""
    try:
        text = Path(venv, "pyvenv.cfg").read_text()
    except OSError:
        return ""
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+(?:\.\d+)*)", text, re.MULTILINE)
    return found[1] if found else ""
