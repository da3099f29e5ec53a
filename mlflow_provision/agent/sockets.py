"""Who listens where, read from /proc."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN in include/net/tcp_states.h


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket."""

    address: str
    port: int
    inode: str


def listeners() -> list[Listener]:
    """Every listening TCP socket, IPv4 and IPv6."""
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net/" + table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                address, port = fields[1].split(":")
                found.append(Listener(_address(address), int(port, 16), fields[9]))
    return found


def listening_on(port: int) -> list[Listener]:
    """Those on one port."""
    return [listener for listener in listeners() if listener.port == port]


def reached_at(address: str) -> str:
    """Where this host itself reaches what listens at an address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104


def _address(text: str) -> str:
    # The kernel prints each 32-bit word in the byte order of the machine.
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack("=" + "I" * len(words), *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


def owner(inode: str) -> int:
    """The pid that holds a socket; 0 when we may not know."""
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            for entry in os.scandir(process / "fd"):
                if os.readlink(entry.path) == wanted:
                    return int(process.name)
        except OSError:
            continue
    return 0


def free_port(start: int, taken: set[int]) -> int:
    """The first port from `start` on that nobody listens on."""
    return next(port for port in range(start, 65536) if port not in taken)
