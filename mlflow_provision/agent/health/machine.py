"""The host itself: what a deployment's files depend on, and how much memory is left."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import Any

from mlflow_provision.agent.facts import addresses


def facts() -> dict[str, Any]:
    """`memory` and `memory_free` in bytes; `time` by the host's clock."""
    return {
        "hostname": socket.gethostname(),
        "addresses": addresses(),
        "cpus": os.cpu_count() or 1,
        "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "memory_free": _memory_free(),
        "home": os.path.expanduser("~"),
        "time": time.time(),
    }


def _memory_free() -> int | None:
    """What programs could still get; None where the system does not tell."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
