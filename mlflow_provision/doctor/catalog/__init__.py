"""Everything that doctor checks, in the order in which it looks; the troubleshooting page is made of it."""

from __future__ import annotations

from mlflow_provision.doctor.catalog import access, backups, data, reaching, server, store
from mlflow_provision.doctor.catalog.entry import APPLY, CLOSE, MEND, REINSTALL, START, Entry, Row
from mlflow_provision.doctor.catalog.messages import MESSAGES

__all__ = ["APPLY", "CATALOG", "CLOSE", "GROUPS", "MEND", "MESSAGES", "REINSTALL", "START", "Entry", "Row"]

_ROOMS = (reaching, server, access, store, data, backups)
GROUPS = tuple(room.GROUP for room in _ROOMS)
CATALOG: dict[str, Entry] = {entry.id: entry for room in _ROOMS for entry in room.ENTRIES}
