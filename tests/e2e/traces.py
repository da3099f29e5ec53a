"""What a command left behind on a host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import LabHost
from tests.lab.layers import NOISE


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
