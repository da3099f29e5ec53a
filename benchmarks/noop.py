"""A re-run that changes nothing, against the least that starting Python as root on a host costs."""

from __future__ import annotations

from benchmarks.channels import count
from benchmarks.clock import alternate
from benchmarks.report import Comparison
from benchmarks.tool import Tool

MOST_CHANNELS = 3


def measure(tool: Tool, times: int) -> list[Comparison]:
    channels = count(tool.host, tool.again, tool.environment)
    floor = ["ssh", "-F", str(tool.host.ssh_config), tool.host.name, "sudo python3 -c pass"]
    ours, reference = alternate(tool.again, floor, times, tool.environment)
    return [
        Comparison(
            "noop",
            "setup with nothing to change against ssh host 'sudo python3 -c pass'",
            ours,
            reference,
            "s",
            target=3,
            detail=f"median of {times}",
        ),
        Comparison("noop", "SSH channels of that setup against one", channels, 1, "channels", target=MOST_CHANNELS),
    ]
