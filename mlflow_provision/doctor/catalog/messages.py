"""What commands say that is no state of a deployment: nothing to check, but worth an explanation."""

from __future__ import annotations

from mlflow_provision.doctor.catalog.entry import Row

MESSAGES = {
    "Setting up": (
        Row(
            "the package index cannot be reached",
            "Security group, proxy or DNS of the host.",
            "Let it out over HTTPS, or name a mirror: `--index-url URL`.",
        ),
        Row(
            "MLflow … is only half published",
            "The index lists it, but not the packages it is made of.",
            "Take the one that the message names, or wait a day.",
        ),
        Row(
            "… is running `setup server` on this host",
            "Another operator, or your own run whose connection broke.",
            "Wait; a run whose operator is gone ends by itself within a minute, after its current step.",
        ),
    ),
    "Backups and restores": (
        Row(
            "… is making a backup since …",
            "Another operator, or the timer.",
            "Wait. A backup that was killed lets go at once.",
        ),
        Row(
            "the key does not open it",
            "The backup was encrypted for another key or passphrase: the list says to which recipient.",
            "The one that held when it was made: [encryption](backup-and-restore.md#encryption).",
        ),
        Row(
            "s3:DeleteObject is denied while pruning",
            "The place is append-only. That is what it is for.",
            "Prune with a profile that may: `mlflow-provision backup prune NAME --aws-profile PROFILE`.",
        ),
        Row(
            "the alarm of the ping URL, and `status` looks fine",
            "The host cannot reach that URL.",
            "`ssh HOST sudo journalctl -u mlflow-NAME-backup` says what it answered.",
        ),
        Row(
            "a restore refuses a backup of a newer MLflow",
            "Schemas are migrated up, never down.",
            "`mlflow-provision upgrade NAME --to VERSION` with the version that it names, then restore.",
        ),
    ),
}
