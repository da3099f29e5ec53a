"""What a command left behind on a host."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import LabHost
from tests.lab.layers import NOISE

ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid")


@contextmanager
def untouched(host: LabHost, ignoring: str = "//") -> Iterator[None]:
    """Within the block nothing is written on the host: no file, no folder, no user, no unit.

    `ignoring` is the folder of a running server's own data."""
    folders, since = set(_folders(host)), host.now()
    yield
    assert [path for path in host.changed_files(since) if ignoring not in path] == []
    assert set(_folders(host)) - folders == set()


def _folders(host: LabHost) -> Iterator[str]:
    """Folders that the host made itself, which `changed_files` does not tell."""
    upper = host.folder / "upper"
    for directory, _, _ in os.walk(upper):
        inside = f"/{Path(directory).relative_to(upper)}"
        if not any(f"{inside}/".startswith(f"{noise}/") for noise in NOISE):
            yield inside


def files(host: LabHost) -> list[str]:
    """Kind, mode, owner and path of all that is on the host's disk, without logs and temporary files."""
    pruned = [word for folder in NOISE for word in ("-path", folder, "-prune", "-o")]
    return sorted(host.run(["find", "/", "-xdev", *pruned, "-printf", "%y %m %U:%G %p -> %l\n"]).stdout.splitlines())


def accounts(host: LabHost) -> dict[str, str]:
    return {path: host.run(["cat", path]).stdout for path in ACCOUNTS}


def units(host: LabHost) -> list[str]:
    return host.run(["systemctl", "list-unit-files", "--no-legend", "--no-pager"]).stdout.splitlines()


def difference(before: list[str], after: list[str]) -> list[str]:
    """Lines that came or went."""
    return [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:3] not in ("---", "+++")]
