"""Databases, disk, files, and the host around them."""

from __future__ import annotations

from mlflow_provision.doctor.catalog.entry import MEND, Entry, Row

GROUP = "Data and host"

ENTRIES = (
    Entry(
        "database-readable",
        GROUP,
        "its databases can be read",
        "a database cannot be read",
        Row(
            "unable to open database file; database disk image is malformed",
            "The file belongs to somebody else, or is damaged: a full disk, or a copy made while the server wrote.",
            "`mlflow-provision backup list NAME`, then `mlflow-provision restore NAME`; what is there now is kept "
            "aside.",
        ),
    ),
    Entry(
        "database-locked",
        GROUP,
        "nobody blocks its databases",
        "somebody blocks a database",
        Row(
            "database is locked",
            "Another program holds a lock for longer than 20 seconds: a `sqlite3` that somebody left open, a second "
            "server, a copy that does not end. Or the file lies on a network disk, where locks do not work.",
            "End the program that the message names.",
        ),
    ),
    Entry(
        "database-schema",
        GROUP,
        "its databases fit its MLflow",
        "its databases do not fit its MLflow",
        Row(
            "Detected out-of-date database schema",
            "The database belongs to another version of MLflow, older or newer: somebody installed another one, or "
            "put an old file there.",
            "A newer database: `mlflow-provision upgrade NAME --to VERSION` with the version it had. An older one: "
            "`mlflow-provision restore NAME`, which migrates what it puts back.",
        ),
    ),
    Entry(
        "disk",
        GROUP,
        "its disk has room",
        "its disk is nearly full",
        Row(
            "No space left on device; disk I/O error",
            "Uploads are spooled to the disk, a backup needs as much as the databases have, and a database that cannot "
            "grow stops the server.",
            "`mlflow-provision gc NAME --dry-run` shows what deleted runs still take; else enlarge the disk. `df -h` "
            "on the host.",
        ),
    ),
    Entry(
        "inodes",
        GROUP,
        "its disk has room for more files",
        "its disk has hardly room for more files",
        Row(
            "No space left on device, and `df -h` shows room",
            "The file system has no inodes left: too many small files.",
            "`df -i` on the host; `mlflow-provision gc NAME --dry-run` counts what could go.",
        ),
    ),
    Entry(
        "files-owner",
        GROUP,
        "its files belong to it",
        "some of its files belong to somebody else",
        Row(
            "Permission denied; attempt to write a readonly database",
            "Somebody ran an MLflow command, or copied files, as root: the server may not touch what came of it.",
            "`mlflow-provision doctor NAME --fix` gives them back.",
        ),
        MEND,
    ),
    Entry(
        "tmp-litter",
        GROUP,
        "nothing is left behind in its folder for temporary files",
        "something is left behind in its folder for temporary files",
        Row(
            "its folder for temporary files grows",
            "Uploads that a crash interrupted leave their spooled files.",
            "`mlflow-provision doctor NAME --fix` removes those that no process has open and that are days old.",
        ),
        MEND,
    ),
    Entry(
        "clock-operator",
        GROUP,
        "the host's clock agrees with this machine's",
        "the host's clock does not agree with this machine's",
        Row(
            "times that lie in the future; certificates that are not valid yet",
            "The clock of the host, or of this machine, is wrong.",
            "`sudo timedatectl set-ntp true` on the one that is wrong.",
        ),
    ),
)
