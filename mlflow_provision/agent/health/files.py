"""What is in files now, to be compared with what was put into them."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Iterable

_LARGEST = 1 << 20  # bytes; ours are a few kilobytes


def sums(paths: Iterable[str]) -> dict[str, str]:
    """Path → sha256 of the content; "" where there is no such file, or none that could be ours."""
    return {path: _sum(path) for path in paths}


def _sum(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode) or info.st_size > _LARGEST:
            return ""
        return hashlib.sha256(file.read()).hexdigest()
