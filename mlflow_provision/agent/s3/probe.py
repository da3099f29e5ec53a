"""Tries put, get, list and delete under an S3 destination, finds everything that is missing, leaves nothing behind (but
one small object where nothing may be deleted)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Callable
from urllib.parse import urlsplit

from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3 import verdict
from mlflow_provision.agent.s3.access import of_the_role
from mlflow_provision.agent.s3.bucket import Bucket
from mlflow_provision.agent.s3.error import S3Error
from mlflow_provision.agent.s3.signature import Credentials

NAME = ".mlflow-provision-"  # our objects begin with it
_WRONG_MD5 = bytes(16)


def prove(
    destination: str,
    region: str,
    endpoint_url: str,
    keys: Credentials,
    metadata_url: str,
    output: Callable[[str], None],
    section: str = "artifacts",
    append_only: bool = False,
) -> None:
    """Raises AgentError of kind "store" with everything that is wrong. `section` of the deployment file is about it.

    With `append_only` the right to delete is neither needed nor tried, and what was put stays.
    """
    parts = urlsplit(destination)
    if parts.scheme != "s3" or not parts.netloc:
        raise AgentError(f"{destination} is not of the form s3://bucket/prefix", kind=verdict.KIND)
    role, keys = ("", keys) if keys.access_key_id else of_the_role(metadata_url, section)
    probe = Probe(Bucket(parts.netloc, region, endpoint_url, keys), parts.path.strip("/"), output)
    try:
        if append_only:
            probe.run_append_only()
        else:
            probe.run()
    except NoAnswer as error:
        raise verdict.unreachable(destination, error, section) from None
    except S3Error as error:
        raise verdict.refused(parts.netloc, error, role, section) from None
    if probe.missing or probe.wrong:
        raise verdict.incomplete(destination, probe.bucket.region, role, probe.missing, probe.unknown, probe.wrong)
    if region and probe.bucket.region != region:
        raise verdict.wrong_region(parts.netloc, probe.bucket.region, region, section)


@dataclass
class Probe:
    """One round of requests; afterwards `missing` and `wrong` tell what it found."""

    bucket: Bucket
    prefix: str
    output: Callable[[str], None]
    missing: list[str] = field(default_factory=list)  # IAM actions that are denied
    unknown: list[str] = field(default_factory=list)  # IAM actions that cannot be told yet
    wrong: list[str] = field(default_factory=list)  # sentences about answers that make no sense
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    body: bytes = field(default_factory=lambda: secrets.token_bytes(1024))

    def run(self) -> None:
        """Try all four. What concerns them all (wrong keys, no bucket, no connection) is raised at once."""
        family = self._family()
        key = family + self.token
        # Asked first, of an object that is not there: what we could not remove again is never stored.
        removable, marker = self._try("delete", "s3:DeleteObject", lambda: self.bucket.delete(key))
        versions = [marker] if marker else []
        stored = False
        try:
            if removable:
                stored, version = self._try("put", "s3:PutObject", lambda: self.bucket.put(key, self.body))
                versions += [version] if version else []
            else:
                self._try("put", "s3:PutObject", lambda: self._put_nothing(key))
            listable = self._list(family, key, stored, removable)
            self._get(key, stored, listable)
        finally:
            if stored:
                marker = self.bucket.delete(key)
                versions += [marker] if marker else []
            self._forget(key, versions)

    def run_append_only(self) -> None:
        """Try put, list and get. Another name every time: a policy may forbid to put the same one twice."""
        key = self._family() + self.token
        stored, _ = self._try("put", "s3:PutObject", lambda: self.bucket.put(key, self.body))
        listable = self._list(key, key, stored, removable=False)
        self._get(key, stored, listable)
        if stored:
            self.output(f"nothing is deleted there: {key} stays")

    def _family(self) -> str:
        return f"{self.prefix}/{NAME}" if self.prefix else NAME

    def _try(self, what: str, action: str, attempt: Callable[[], Any]) -> tuple[bool, Any]:
        try:
            answer = attempt()
        except S3Error as error:
            if not verdict.denied(error):
                raise
            self.missing.append(verdict.action_in(error) or action)
            self.output(f"{what}: denied")
            return False, None
        self.output(f"{what}: ok")
        return True, answer

    def _put_nothing(self, key: str) -> None:
        """Ask for the permission to put without putting: the checksum is wrong, and looked at after the permission."""
        try:
            self.bucket.put(key, b"", md5=_WRONG_MD5)
        except S3Error as error:
            if error.code not in ("BadDigest", "InvalidDigest"):
                raise
        else:
            self.wrong.append(f"the store ignores checksums, so an empty test object stays: remove {key} by hand")

    def _list(self, family: str, key: str, stored: bool, removable: bool) -> bool:
        listable, keys = self._try("list", "s3:ListBucket", lambda: self.bucket.list(family))
        if not listable:
            return False
        if stored and key not in keys:
            self.wrong.append("what was put does not show in the list")
        # Left by a run that was killed half-way. A younger one may be somebody's who proves access right now.
        an_hour_ago = (datetime.now(timezone.utc) - timedelta(hours=1)).isoformat()
        for other, put_at in keys.items():
            if removable and other != key and put_at < an_hour_ago:
                self.bucket.delete(other)
        return True

    def _get(self, key: str, stored: bool, listable: bool) -> None:
        try:
            body = self.bucket.get(key)
        except S3Error as error:
            self._not_got(error, stored, listable)
            return
        self.output("get: ok")
        if stored and body != self.body:
            self.wrong.append("what came back differs from what was put")

    def _not_got(self, error: S3Error, stored: bool, listable: bool) -> None:
        action = verdict.action_in(error)
        if not stored and error.code == "NoSuchKey":
            self.output("get: ok")
        elif not verdict.denied(error):
            raise error
        # S3 hides from those who may not list the whole bucket whether an object exists: then a denied get of one that
        # is not there proves nothing, and the answer speaks of the list, or of nothing.
        elif stored or action not in ("", "s3:ListBucket"):
            self.missing.append(action or "s3:GetObject")
            self.output("get: denied")
        else:
            self.unknown.append("s3:GetObject")
            self.output(f"get: cannot be told before {'put' if listable else 'list'} is allowed")

    def _forget(self, key: str, versions: list[str]) -> None:
        """In a versioned bucket a deleted object stays as an old version: remove that too where we may."""
        try:
            for version in versions:
                self.bucket.delete(key, version)
        except S3Error:
            self.output(f"the bucket keeps old versions: the deleted {key} stays in its history")
