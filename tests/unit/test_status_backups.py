"""What `status` says of backups."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_provision.cli.status_shown import backup_rows

NOW = 1_800_000_000.0
HOUR = 3600.0
MADE = {"id": "b", "at": NOW - 5 * HOUR, "seconds": 3, "stored_size": 26_400_000, "reason": "by schedule"}
FAILED = {"at": NOW - HOUR, "message": "the bucket is gone", "hint": "make it again", "what": "backup"}


@pytest.mark.parametrize(
    ("backup", "told"),
    [
        ({"next": None, "scheduled": False}, ["none yet"]),
        (
            {"made": MADE, "next": NOW + 2 * HOUR, "scheduled": True},
            ["5 h ago, 26 MB, never verified", "next one in 2 h"],
        ),
        (
            {"made": MADE, "verified": {"at": NOW - 86400.0}, "next": None, "scheduled": False},
            ["last verified 1 d ago"],
        ),
        (
            {"made": MADE, "failed": FAILED, "next": NOW + HOUR, "scheduled": True},
            ["5 h ago", "backup failed 1 h ago: the bucket is gone", "make it again", "next one in 1 h"],
        ),
        ({"made": MADE, "next": None, "scheduled": True}, ["5 h ago", "its timer does not run"]),
        (
            {"made": {**MADE, "at": NOW + 99.0}, "next": None, "scheduled": False},
            ["in the future, by the host's clock"],
        ),
    ],
)
def test_how_backups_fare(backup: dict[str, Any], told: list[str]) -> None:
    rows = backup_rows({"failed": None, **backup}, NOW)
    assert rows[0][0] == "backup"
    assert all(label == "" for label, _ in rows[1:])
    assert len(rows) == len(told)
    for (_, text), part in zip(rows, told, strict=True):
        assert part in text
