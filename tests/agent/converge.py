"""What every resource promises, said once: what `check` finds, `apply` mends."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mlflow_provision.agent.resources import Context, Resource

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users and give them files")


def found(resource: Resource, *changed: str) -> str:
    """The summary of what `check` finds; "" for nothing. `changed` are the ids of resources that changed before."""
    change = resource.check(Context(changed=set(changed)))
    return change.summary if change else ""


def mend(resource: Resource) -> str:
    """Apply what `check` finds and see that nothing is left to do; returns what was found."""
    summary = found(resource)
    assert summary, f"{resource.title}: there is nothing to mend"
    resource.apply(Context())
    assert found(resource) == ""
    return summary


def snapshot(folder: Path, times: bool = False) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: kind, mode, owner, content, and with `times` also inode and moment of writing."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content: object = None
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        when = (info.st_ino, info.st_mtime_ns, info.st_ctime_ns) if times else ()
        seen[str(path.relative_to(folder))] = (oct(info.st_mode), info.st_uid, info.st_gid, content, *when)
    return seen


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Does a process end within some seconds? One that nobody has waited for yet has ended, too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False
