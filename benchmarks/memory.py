"""What an idle server holds: the proportional set size (PSS) of all processes of its unit."""

from __future__ import annotations

import json
import time

from tests.lab import LabHost

# Runs on the host. Memory that processes share is counted once, by sharing it out among them.
PSS_OF_UNIT = """
import glob, json, re, sys
sizes = []
for group in glob.glob("/proc/[0-9]*/cgroup"):
    try:
        if "/" + sys.argv[1] in open(group).read():
            rollup = open(group.replace("cgroup", "smaps_rollup")).read()
            sizes.append(int(re.search(r"^Pss: +(\\d+) kB", rollup, re.M)[1]))
    except (OSError, TypeError):
        pass  # it has just ended
print(json.dumps(sizes))
"""


def idle_memory(host: LabHost, unit: str, timeout: float = 120) -> tuple[float, int]:
    """MB and number of processes, once both have stopped changing."""
    deadline = time.monotonic() + timeout
    last = _sizes(host, unit)
    while True:
        time.sleep(5)
        now = _sizes(host, unit)
        settled = len(now) == len(last) and abs(sum(now) - sum(last)) < 0.01 * sum(now)
        if settled and now:
            return sum(now) / 1024, len(now)
        if time.monotonic() > deadline:
            raise RuntimeError(f"{unit} does not come to rest: {len(now)} processes, {sum(now) / 1024:.0f} MB")
        last = now


def _sizes(host: LabHost, unit: str) -> list[int]:
    sizes: list[int] = json.loads(host.run(["python3", "-c", PSS_OF_UNIT, unit]).stdout)
    return sizes
