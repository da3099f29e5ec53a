"""The flags of `setup` that say what a server should be like, and the deployment they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from mlflow_provision.errors import ExitCode, ProvisionError

# name of the flag's value → the key of the deployment file it sets
KEYS = {
    "scope": "scope",
    "identity": "identity_file",
    "mlflow_version": "mlflow.version",
    "port": "mlflow.port",
    "listen": "mlflow.listen",
    "workers": "mlflow.workers",
    "jobs": "mlflow.job_execution",
    "allowed_host": "mlflow.allowed_hosts",
    "index_url": "mlflow.index_url",
    "artifacts": "artifacts.destination",
    "region": "artifacts.region",
    "endpoint_url": "artifacts.endpoint_url",
    "aws_profile": "artifacts.profile",
    "admin_username": "auth.admin_username",
    "default_permission": "auth.default_permission",
    "backups": "backup.destination",
    "backup_schedule": "backup.schedule",
    "backup_credentials": "backup.credentials",
    "backup_profile": "backup.profile",
    "backup_verify": "backup.verify",
    "backup_encryption": "backup.encryption",
    "backup_recipient": "backup.recipient",
    "backup_artifacts": "backup.artifacts",
    "append_only": "backup.append_only",
    "keep_last": "backup.keep_last",
    "keep_daily": "backup.keep_daily",
    "keep_weekly": "backup.keep_weekly",
    "keep_monthly": "backup.keep_monthly",
}

_OPTIONS = (
    click.option("--artifacts", metavar="PLACE", help="s3://bucket/prefix, or a folder on the host."),
    click.option("--aws-profile", metavar="PROFILE", help="Give the server the keys of this AWS profile."),
    click.option("--instance-role", is_flag=True, help="The server has the IAM role of its instance."),
    click.option("--aws-keys", is_flag=True, help="Give it the keys of the secrets file."),
    click.option("--region", metavar="REGION", help="Region of the bucket."),
    click.option("--endpoint-url", metavar="URL", help="An S3-compatible store instead of AWS."),
    click.option("--port", type=int, metavar="PORT", help="Port of the server.  [default: 5000]"),
    click.option("--listen", metavar="ADDRESS", help="Address it answers on.  [default: 127.0.0.1]"),
    click.option("--allowed-host", multiple=True, metavar="NAME", help="A name people reach it by. Repeatable."),
    click.option("--workers", type=int, metavar="N", help="Server processes.  [default: from memory]"),
    click.option("--jobs/--no-jobs", default=None, help="MLflow's job runners: 1 GB.  [default: no-jobs]"),
    click.option("--mlflow-version", metavar="VERSION", help="A version, or latest: the newest that installs."),
    click.option("--index-url", metavar="URL", help="A mirror of the Python package index."),
    click.option("--admin-username", metavar="NAME", help="The administrator.  [default: admin]"),
    click.option("--default-permission", metavar="LEVEL", help="Of users on what others made.  [default: READ]"),
    click.option("--backups", metavar="PLACE", help="s3://…, a folder on the host, or operator:~/folder here."),
    click.option("--backup-schedule", metavar="EVERY", help="hourly, daily, weekly or off.  [default: daily]"),
    click.option("--backup-verify", metavar="EVERY", help="daily, weekly, monthly or off.  [default: weekly]"),
    click.option("--backup-credentials", metavar="HOW", help="instance-role, profile or keys, for their bucket."),
    click.option("--backup-profile", metavar="PROFILE", help="Use their bucket with this AWS profile."),
    click.option("--backup-encryption", metavar="HOW", help="passphrase or recipient.  [default: none]"),
    click.option("--backup-recipient", metavar="KEY", help="Encrypt backups to this age public key."),
    click.option("--backup-artifacts/--no-backup-artifacts", default=None, help="Those in a folder of the host."),
    click.option("--append-only/--no-append-only", default=None, help="The host may not delete backups."),
    click.option("--keep-last", type=int, metavar="N", help="Newest backups to keep.  [default: 3]"),
    click.option("--keep-daily", type=int, metavar="N", help="Daily backups to keep.  [default: 7]"),
    click.option("--keep-weekly", type=int, metavar="N", help="Weekly backups to keep.  [default: 4]"),
    click.option("--keep-monthly", type=int, metavar="N", help="Monthly backups to keep.  [default: 0]"),
    click.option("--scope", type=click.Choice(["system", "user"]), help="user: without root, only for local."),
    click.option("-i", "--identity", type=click.Path(dir_okay=False), metavar="FILE", help="The SSH key to use."),
)


def server_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """All of them, in the order of `--help`; the command gets them as keywords."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, by the key of the deployment file."""
    typed = {KEYS[name]: value for name, value in flags.items() if name in KEYS and value not in (None, ())}
    if "auth.default_permission" in typed:
        typed["auth.default_permission"] = typed["auth.default_permission"].upper()
    if "identity_file" in typed:
        typed["identity_file"] = str(Path(typed["identity_file"]).expanduser().absolute())
    if "backup.recipient" in typed:
        typed.setdefault("backup.encryption", "recipient")
    if "backup.profile" in typed:
        typed.setdefault("backup.credentials", "profile")
    typed.update(_credentials(flags))
    return typed


def spoken(problem: str) -> str:
    """A problem of a key, told as one of the flag that sets it."""
    key, separator, text = problem.partition(":")
    flags = {path: "--" + name.replace("_", "-") for name, path in KEYS.items()}
    flags |= {
        "host": "TARGET",
        "name": "--name",
        "artifacts.credentials": "credentials (--instance-role, --aws-profile PROFILE, --aws-keys)",
    }
    return flags.get(key.partition("[")[0], key) + separator + text


def _credentials(flags: Mapping[str, Any]) -> dict[str, Any]:
    """How the server proves who it is to the bucket: one of three."""
    ways = [
        (flag, keys)
        for flag, keys in (
            ("aws_profile", {"artifacts.credentials": "profile"}),
            ("instance_role", {"artifacts.credentials": "instance-role", "artifacts.profile": ""}),
            ("aws_keys", {"artifacts.credentials": "keys", "artifacts.profile": ""}),
        )
        if flags.get(flag)
    ]
    if len(ways) > 1:
        names = " and ".join("--" + flag.replace("_", "-") for flag, _ in ways)
        raise ProvisionError(f"{names} exclude each other", "keep one of them", ExitCode.USAGE)
    return dict(ways[0][1]) if ways else {}
