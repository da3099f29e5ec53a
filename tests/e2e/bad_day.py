"""What every bad day has in common: it comes, a command is refused and changes nothing, it goes, the command works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.operator import Operator, on
from tests.e2e.traces import untouched
from tests.lab import LabHost


def refused(host: LabHost, operator: Operator, *arguments: str, code: int = 1) -> str:
    """What a setup says that is refused before it has changed anything, there or here."""
    with untouched(host):
        said = operator.refused("setup", on(host), "--yes", *arguments, code=code)
    assert list(operator.config.glob("*")) == []
    return said


def accepted(host: LabHost, operator: Operator, *arguments: str) -> None:
    """Nothing stands in the way any more: a plan is made. That a plan can be carried out is not asked here."""
    operator.run("setup", on(host), "--dry-run", *arguments)


@contextmanager
def replaced(host: LabHost, path: str, content: str) -> Iterator[None]:
    """A file of the host is another one within the block. It may be a link, which points into the host."""
    there = host.path(path)
    before = there.with_name(there.name + ".before")
    if there.is_symlink() or there.exists():
        there.rename(before)
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text(content)
    try:
        yield
    finally:
        there.unlink()
        if before.is_symlink() or before.exists():
            before.rename(there)


@contextmanager
def squatted(host: LabHost, *ports: int) -> Iterator[None]:
    """Another program listens on these ports of the host within the block."""
    listen = "import socket, sys, time; held = [socket.create_server(('', int(port))) for port in sys.argv[1:]]; "
    program = ["python3", "-c", listen + "time.sleep(600)", *map(str, ports)]
    host.run(["systemd-run", "--quiet", "--unit=squatter", *program])
    try:
        host.run(["sh", "-c", f"until ss -Hltn sport = {ports[-1]} | grep -q LISTEN; do sleep 0.05; done"], timeout=20)
        yield
    finally:
        host.run(["systemctl", "stop", "squatter"])
