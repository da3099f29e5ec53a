"""How many SSH channels a command opens, as the host's own sshd counts them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.clock import run
from tests.lab import LabHost

SETTING = "/etc/ssh/sshd_config.d/benchmark.conf"
OPENED = re.compile(r"server_input_channel_open: ctype ")


def count(host: LabHost, argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `argv` once, with an sshd that logs every channel."""
    with _talkative_sshd(host):
        cursor = _journal(host, "--lines=1", "--show-cursor").rpartition("cursor: ")[2].strip()
        run(argv, environment)
        return len(OPENED.findall(_journal(host, f"--after-cursor={cursor}")))


@contextmanager
def _talkative_sshd(host: LabHost) -> Iterator[None]:
    host.run(["sh", "-c", f"echo LogLevel DEBUG1 > {SETTING} && systemctl reload ssh"])
    try:
        yield
    finally:
        host.run(["sh", "-c", f"rm {SETTING} && systemctl reload ssh"])


def _journal(host: LabHost, *options: str) -> str:
    host.run(["journalctl", "--sync"])
    return host.run(["journalctl", "--no-pager", "--output=cat", *options]).stdout
