"""Hosts and deployments that the tests of blueprint, templates and preflight share."""

from __future__ import annotations

from typing import Any

from mlflow_provision.config import Artifacts, Auth, Backup, Deployment, Gc, MLflow, Secrets

VERSION = "3.17.2"
SECRETS = Secrets(
    admin_password="CANARY-admin-password",
    aws_access_key_id="AKIACANARYACCESSKEY",
    aws_secret_access_key="CANARY/secret+access/key",
    aws_session_token="CANARY/session/token==",
    backup_passphrase="CANARY backup passphrase",
    backup_identity="AGE-SECRET-KEY-1CANARYIDENTITY",
    backup_access_key_id="AKIACANARYBACKUPKEY",
    backup_secret_access_key="CANARY/backup/key",
    backup_ping_url="https://ping.example.org/CANARY-ping",
)
OTHER_SECRETS = Secrets(
    "CANARY-other-password",
    "AKIACANARYOTHERKEY",
    "CANARY/other/key",
    "",
    "CANARY other passphrase",
    "AGE-SECRET-KEY-1CANARYOTHER",
    "AKIACANARYOTHERBACKUP",
    "CANARY/other/backup",
    "https://ping.example.org/CANARY-other",
)
RECIPIENT = "age1vmzusqhl7609en8azvc02tdq60lzcp883fy267lylrzpcy03zsdshan3p8"


def server(**settings: Any) -> Deployment:
    """A deployment in system scope on a host over SSH; `mlflow`, `artifacts` and `auth` are dictionaries."""
    parts = {
        "mlflow": MLflow(**{"version": VERSION, **settings.pop("mlflow", {})}),
        "artifacts": Artifacts(**settings.pop("artifacts", {})),
        "auth": Auth(**settings.pop("auth", {})),
    }
    return Deployment(**{"name": "server", "host": "ubuntu@mlflow.example.org", **parts, **settings})


LOCAL = server(name="server", host="local", scope="user")
S3_KEYS = server(artifacts={"destination": "s3://basketworld/mlflow", "region": "us-west-1", "credentials": "keys"})
S3_PROFILE = server(
    name="team-a",
    artifacts={
        "destination": "s3://basketworld/mlflow",
        "region": "eu-central-1",
        "credentials": "profile",
        "profile": "basketworld",
    },
)
INSTANCE_ROLE = server(
    artifacts={"destination": "s3://basketworld/mlflow", "region": "us-west-1", "credentials": "instance-role"}
)
COMPATIBLE = server(
    artifacts={"destination": "s3://bucket", "endpoint_url": "https://minio.example.org:9000", "credentials": "keys"}
)
ELSEWHERE = server(root="/data/mlflow", artifacts={"destination": "/srv/artifacts"})
OPEN = server(
    mlflow={"listen": "0.0.0.0", "port": 8080, "allowed_hosts": ("mlflow.example.com", "localhost"), "workers": 2}
)
OLDER = server(mlflow={"version": "3.12.0", "job_execution": True}, auth={"admin_username": "ada@example.org"})
BACKED_UP = server(
    artifacts={"destination": "s3://basketworld/mlflow", "region": "us-west-1", "credentials": "instance-role"},
    backup=Backup(
        "s3://elsewhere/backups",
        "hourly",
        credentials="keys",
        region="eu-central-1",
        append_only=True,
        encryption="recipient",
        recipient=RECIPIENT,
    ),
)
BACKUP_FOLDER = server(backup=Backup("/srv/backups", "weekly", keep_monthly=6, encryption="passphrase"))
BACKUP_LOCAL = server(host="local", scope="user", backup=Backup("/srv/backups"))
GC_FOLDER = server(artifacts={"destination": "/srv/artifacts"}, gc=Gc("weekly", "14d"))
GC_LOCAL = server(host="local", scope="user", gc=Gc("daily"))
CASES = {
    "local": LOCAL,
    "s3-keys": S3_KEYS,
    "s3-profile": S3_PROFILE,
    "instance-role": INSTANCE_ROLE,
    "s3-compatible": COMPATIBLE,
    "folder-elsewhere": ELSEWHERE,
    "open-to-others": OPEN,
    "mlflow-3.12": OLDER,
    "backup-append-only": BACKED_UP,
    "backup-folder": BACKUP_FOLDER,
    "backup-local": BACKUP_LOCAL,
    "gc-folder": GC_FOLDER,
    "gc-local": GC_LOCAL,
}


def facts(deployment: Deployment = LOCAL, **other: Any) -> dict[str, Any]:
    """What the agent says of a blank host that is fit for this deployment."""
    roots = {"system": deployment.root or "/opt/mlflow", "user": "/home/ada/mlflow"}
    return {
        "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux 12 (bookworm)"},
        "arch": "x86_64",
        "libc": "2.36",
        "python": {"path": "/usr/bin/python3", "version": "3.11.2"},
        "user": "root",
        "uid": 0,
        "home": "/root",
        "hostname": "ip-10-0-0-7",
        "addresses": ["10.0.0.7", "2001:db8::7"],
        "cpus": 2,
        "memory": 4 << 30,
        "disk_free": 20 << 30,
        "time": 1_800_000_000.0,
        "systemd": True,
        "root": {"path": roots[deployment.scope], "state": "absent"},
        "unit": "absent",
        "port_owner": None,
        "free_port": deployment.mlflow.port,
        "applied": None,
        "deployments": [],
        "admin_exists": False,
        "restoring": False,
        "upgrading": False,
        "release_installed": False,
        "index": {"error": "", "hint": "", "versions": ["3.17.2", "3.16.1", "3.12.0"], "half_published": ["3.18.0"]},
        **other,
    }
