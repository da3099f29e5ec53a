"""Backups: are there any, would they open, and do they go on?"""

from __future__ import annotations

from mlflow_provision.doctor.catalog.entry import APPLY, Entry, Row

GROUP = "Backups"

ENTRIES = (
    Entry(
        "backup-age",
        GROUP,
        "the last backup is recent",
        "there is no recent backup",
        Row(
            "the last backup is days old, or there is none",
            "No backups were asked for, the timer stands still, or each attempt failed.",
            "`mlflow-provision backup NAME`; and by itself from then on: `mlflow-provision backup schedule --help`.",
        ),
    ),
    Entry(
        "backup-verified",
        GROUP,
        "a backup was proved to be good",
        "no backup was proved to be good lately",
        Row(
            "no backup was ever verified, or long ago",
            "A backup that nobody read back may be good or not.",
            "`mlflow-provision backup verify NAME`",
        ),
        more=(
            Row(
                "a backup is DAMAGED, or `backup verify` fails",
                "An object was changed or lost in its place: the error names it.",
                "Use another backup, make a new one, find out who wrote there; a versioned bucket has the older "
                "version.",
            ),
        ),
    ),
    Entry(
        "backup-failed",
        GROUP,
        "the last backup did not fail",
        "the last backup failed",
        Row(
            "`status` says that the last backup failed",
            "It says why. The timer tries again at the next date.",
            "Put it right, then `mlflow-provision backup NAME`: a success clears it.",
        ),
        more=(
            Row(
                "a backup says “no space left”, or that there is too little",
                "A backup needs as much free disk as the databases have, for a moment.",
                "Free some, or move the deployment's `root` to a larger disk; `df -h` on the host.",
            ),
        ),
    ),
    Entry(
        "backup-store",
        GROUP,
        "the place of the backups can be used",
        "the place of the backups cannot be used",
        Row(
            "the place of the backups refuses, or is full",
            "Its credentials were changed or have ended, the bucket or folder is gone, or a disk is full.",
            "`mlflow-provision backup list NAME` asks it now, and says what it answers.",
        ),
    ),
    Entry(
        "backup-timer",
        GROUP,
        "the timer of the backups runs",
        "the timer of the backups does not run",
        Row(
            "the timer of the backups does not run",
            "Somebody stopped or disabled it.",
            "`mlflow-provision setup NAME` starts it again.",
        ),
        APPLY,
    ),
    Entry(
        "restore-unfinished",
        GROUP,
        "no restore is half done",
        "a restore is half done",
        Row(
            "a restore was interrupted, and the server does not start",
            "It would start on half of a database.",
            "`mlflow-provision restore NAME` again: it goes on, or back.",
        ),
    ),
)
