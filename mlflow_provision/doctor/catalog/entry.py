"""What is known about one thing that can be wrong with a deployment."""

from __future__ import annotations

from dataclasses import dataclass

# How doctor mends a finding, where it is safe: see doctor/fixing.py.
APPLY = "apply"
START = "start"
REINSTALL = "reinstall"
MEND = "mend"
CLOSE = "close"  # a file on this machine


@dataclass(frozen=True)
class Row:
    """One line of the troubleshooting page. In its commands NAME is the deployment, HOST what one gives to
    ssh, PROFILE its AWS profile, ADMIN its administrator."""

    symptom: str  # what a person sees
    why: str
    remedy: str


@dataclass(frozen=True)
class Entry:
    """A check of doctor."""

    id: str
    group: str
    title: str  # what is true when nothing is wrong
    wrong: str  # and when something is
    row: Row
    fix: str = ""  # how `--fix` mends it; empty: only a person can
    more: tuple[Row, ...] = ()  # further faces of the same thing

    @property
    def rows(self) -> tuple[Row, ...]:
        return (self.row, *self.more)
