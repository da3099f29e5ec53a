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
    "keep_daily": "backup.keep_daily",
    "keep_weekly": "backup.keep_weekly",
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
    click.option("--backups", metavar="PLACE", help="Where backups are to go. Noted; none is made yet."),
    click.option("--backup-schedule", metavar="EVERY", help="hourly, daily or weekly.  [default: daily]"),
    click.option("--keep-daily", type=int, metavar="N", help="Daily backups to keep.  [default: 7]"),
    click.option("--keep-weekly", type=int, metavar="N", help="Weekly backups to keep.  [default: 4]"),
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
