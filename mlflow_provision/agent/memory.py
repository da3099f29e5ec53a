"""Memory of a group of processes."""

from __future__ import annotations

import re
from pathlib import Path


def proportional(pids: list[int]) -> int:
    """Bytes of memory (PSS: what is shared is counted once, by parts) of these processes; what we may not read is 0."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        total += int(match.group(1)) * 1024 if match else 0
    return total
