"""The credentials of an EC2 instance's role, from the instance metadata service (version 2)."""

from __future__ import annotations

import calendar
import time
from typing import Any

from mlflow_provision.agent.http import Client, NoAnswer, Response
from mlflow_provision.agent.s3.signature import Credentials

METADATA_URL = "http://169.254.169.254"
_TIMEOUT = 2.0  # link-local: it answers in milliseconds or never
_ROLES = "/latest/meta-data/iam/security-credentials/"


class NoInstanceRole(Exception):
    """Why this host has no credentials of its own."""


def role_credentials(url: str = METADATA_URL) -> tuple[str, Credentials]:
    """The role's name and its credentials of this hour. Raises NoInstanceRole."""
    client = Client(url, timeout=_TIMEOUT)
    try:
        token = client.call("PUT", "/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        if token.status != 200:
            raise NoInstanceRole(
                f"the instance metadata service refuses a token (HTTP {token.status}): is it disabled?"
            )
        headers = {"X-aws-ec2-metadata-token": token.text}
        listing = client.call("GET", _ROLES, headers=headers)
        name = listing.text.strip().split("\n")[0]
        if listing.status == 404 or not name:
            raise NoInstanceRole("this EC2 instance has no instance role")
        return name, _credentials(client.call("GET", _ROLES + name, headers=headers))
    except NoAnswer:
        message = "this host has no instance role: no instance metadata service answers, so it is not an EC2 instance"
        raise NoInstanceRole(message) from None


def _credentials(response: Response) -> Credentials:
    try:
        data = response.json()
        return Credentials(data["AccessKeyId"], data["SecretAccessKey"], data["Token"], _end(data.get("Expiration")))
    except (ValueError, KeyError, TypeError):
        raise NoInstanceRole(f"the instance role gives no credentials (HTTP {response.status})") from None


def _end(text: Any) -> float:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) if text else 0.0
