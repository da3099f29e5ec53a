"""Can the server use its store, and can backups get to their place? Permission by permission."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.doctor import aws
from mlflow_provision.agent.doctor.finding import SKIPPED, Finding, Skip, bad, ok
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import Credentials

_PROBE = ".mlflow-provision-"
_WRONG_MD5 = bytes(16)


def store(patient: Patient) -> Finding:
    """Put, get, list and delete work where artifacts are, with the credentials that the server uses."""
    destination = patient.destination
    if destination.startswith("s3://"):
        used = aws.found(patient.environment)
        if told := _said_elsewhere(used, patient):
            return Finding(SKIPPED, f"not tried, because {told} is bad", {"because": told})
        return _proved(destination, used.region, used.endpoint_url, used.keys, patient, used.source)
    folder = destination[len("file://") :] if destination.startswith("file://") else destination
    if "://" in folder:
        raise Skip(f"{destination} is not a store that this tool knows")
    return _folder(folder, patient, "apply")


def _said_elsewhere(used: aws.Found, patient: Patient) -> str:
    """The check that has found that there is no whole key to try; "" when there is one, or a role."""
    if bool(used.keys.access_key_id) != bool(used.keys.secret_access_key):
        return "credentials-partial"
    without = used.profile and used.source == aws.ROLE
    return "profile-mismatch" if without and patient.verdicts.get("profile-mismatch") == "bad" else ""


def backup_store(patient: Patient) -> Finding:
    """The same where backups are; nothing is deleted where nothing may be."""
    backup = patient.backup
    destination = backup["destination"]
    if not destination:
        raise Skip("there is no place for backups")
    if backup["with_operator"]:
        raise Skip(f"{destination} is on the operator's machine")
    if destination.startswith("/"):
        return _folder(backup["folder"] or destination, patient, "apply")
    place = _place(patient)
    keys = Credentials(place["access_key_id"], place["secret_access_key"], place["session_token"])
    if not keys.access_key_id and backup["has_keys"]:
        raise Skip("the keys of this place are not on the host, nor were they sent")
    if backup["append_only"]:
        return _append_only(destination, place["region"], place["endpoint_url"], keys, patient)
    return _proved(destination, place["region"], place["endpoint_url"], keys, patient, "", "backup")


def _place(patient: Patient) -> dict[str, str]:
    """As the scheduled job on the host has it, else as the operator's side does."""
    place: dict[str, Any] = dict(patient.backup["place"])
    try:
        job = json.loads(Path(patient.files["backup_job"]).read_text("utf-8"))
        place.update(job["settings"]["place"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    names = ("region", "endpoint_url", "access_key_id", "secret_access_key", "session_token")
    return {name: str(place.get(name) or "") for name in names}


def _proved(
    destination: str,
    region: str,
    endpoint_url: str,
    keys: Credentials,
    patient: Patient,
    source: str,
    section: str = "artifacts",
) -> Finding:
    from mlflow_provision.agent.s3.probe import prove

    permissions: dict[str, str] = {}

    def told(line: str) -> None:
        what, _, verdict = line.partition(": ")
        if what in ("put", "get", "list", "delete"):
            permissions[what] = verdict

    data = {"permissions": permissions, "source": source, "region": region, "endpoint_url": endpoint_url}
    try:
        prove(destination, region, endpoint_url, keys, patient.data.get("metadata_url", ""), told, section)
    except AgentError as error:
        said = ", ".join(f"{what} {verdict}" for what, verdict in permissions.items())
        return bad(error.message + (f"\n({said})" if said else ""), **_way_out(error), **data)
    return ok(f"{destination}: {', '.join(permissions)} work" + (f" (keys: {source})" if source else ""), **data)


def _append_only(destination: str, region: str, endpoint_url: str, keys: Credentials, patient: Patient) -> Finding:
    """Ask for the permission to put without putting: a checksum that is wrong is looked at after the permission."""
    from mlflow_provision.agent.http import NoAnswer
    from mlflow_provision.agent.s3 import verdict
    from mlflow_provision.agent.s3.bucket import Bucket
    from mlflow_provision.agent.s3.error import S3Error
    from mlflow_provision.agent.s3.instance_role import METADATA_URL, NoInstanceRole, role_credentials

    parts = urlsplit(destination)
    try:
        if not keys.access_key_id:
            _, keys = role_credentials(patient.data.get("metadata_url") or METADATA_URL)
        bucket = Bucket(parts.netloc, region, endpoint_url, keys)
        family = f"{parts.path.strip('/')}/{_PROBE}".lstrip("/")
        missing = []
        for action, attempt in (
            ("s3:ListBucket", lambda: bucket.list(family)),
            ("s3:PutObject", lambda: bucket.put(family + secrets.token_hex(8), b"", md5=_WRONG_MD5)),
        ):
            try:
                attempt()
            except S3Error as error:
                if verdict.denied(error):
                    missing.append(verdict.action_in(error) or action)
                elif error.code not in ("BadDigest", "InvalidDigest"):
                    raise
    except NoInstanceRole as error:
        failure = verdict.no_role(str(error), "backup")
        return bad(failure.message, **_way_out(failure))
    except NoAnswer as error:
        failure = verdict.unreachable(destination, error, "backup")
        return bad(failure.message, **_way_out(failure))
    except S3Error as error:
        failure = verdict.refused(parts.netloc, error, "", "backup")
        return bad(failure.message, **_way_out(failure))
    if missing:
        failure = verdict.incomplete(destination, bucket.region, "", missing, [], [])
        return bad(failure.message, **_way_out(failure))
    return ok(f"{destination}: put and list are allowed (nothing may be deleted there, so nothing was put)")


def _way_out(error: AgentError) -> dict[str, str]:
    return {"remedy": error.hint} if error.hint else {}


def _folder(folder: str, patient: Patient, fix: str) -> Finding:
    if not os.path.isdir(folder):
        return bad(
            f"there is no folder {folder}",
            cause="It was removed, or the disk that it is on is not mounted.",
            remedy=f"Look: findmnt -T {folder}; then mlflow-provision setup NAME makes the folder again.",
            no_fix=True,
        )
    problem: str = as_user(patient.user, lambda: _tried(folder))
    if problem:
        return bad(f"{folder}: {problem}", **({"fix": fix} if "denied" in problem else {"no_fix": True}))
    return ok(f"{folder}: put, get, list and delete work")


def _tried(folder: str) -> str:
    path = f"{folder}/{_PROBE}{secrets.token_hex(8)}"
    body = secrets.token_bytes(1024)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return f"nothing can be put there: {error.strerror}"
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
        if os.path.basename(path) not in os.listdir(folder):
            return "what was put does not show in the list"
        return "" if Path(path).read_bytes() == body else "what came back differs from what was put"
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.unlink(path)
