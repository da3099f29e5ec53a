"""What a store's refusal means, and what to do about it.

`section` is the part of the deployment file that says where the store is: artifacts, or backup.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.s3.error import S3Error

KIND = "store"
_STORES = {"artifacts": "the artifact store", "backup": "the place for backups"}
_TROUBLE = "the store is in trouble, not you: run the same command again in some minutes"
_DENIED = ("AccessDenied", "HTTP 403", "AllAccessDisabled", "Forbidden")

_UNREACHABLE = {
    "tls": "install the CA of the store's certificate (update-ca-certificates), or correct [{section}] endpoint_url",
    "name": "check [{section}] endpoint_url and region, and the host's DNS",
    "refused": "check [{section}] endpoint_url, and that the store runs",
    "timeout": "let the host reach it (security group, route, VPC endpoint), or correct [{section}] endpoint_url",
    "lost": "check [{section}] endpoint_url: is it https:// where it must be http://, or the other way round?",
}

_REFUSED = {
    "NoSuchBucket": ("there is no such bucket", "create it, or correct [{section}] destination"),
    "InvalidAccessKeyId": ("the access key id is wrong: the store does not know it", "correct the access key id"),
    "SignatureDoesNotMatch": (
        "the secret access key is wrong; its access key id is known",
        "correct the secret access key",
    ),
    "InvalidToken": ("the session token is wrong", "correct the session token; long-lived keys have none"),
    "ExpiredToken": ("the session token has expired", "use keys that do not expire, or an instance role"),
    "RequestTimeTooSkewed": ("the host's clock is wrong", "set the clock: sudo timedatectl set-ntp true"),
}


def denied(error: S3Error) -> bool:
    """Is it a missing permission, as opposed to anything else that can be wrong?"""
    return error.code in _DENIED


def action_in(error: S3Error) -> str:
    """The IAM action that AWS says is missing; "" when it does not say."""
    found = re.search(r"not authorized to perform: ([\w-]+:\w+)", error.message)
    return found.group(1) if found else ""


def no_role(reason: str, section: str) -> AgentError:
    """The host has no credentials of its own."""
    hint = (
        "attach an instance role (EC2 console: Actions, Security, Modify IAM role), "
        f'or use keys: [{section}] credentials = "keys"'
    )
    return AgentError(f"no credentials for {_STORES[section]}: {reason}", hint, KIND)


def unreachable(destination: str, error: NoAnswer, section: str) -> AgentError:
    """No HTTP answer from the store."""
    hint = _UNREACHABLE[error.kind].format(section=section)
    return AgentError(f"cannot reach the store of {destination}: {error}", hint, KIND)


def refused(bucket: str, error: S3Error, role: str, section: str) -> AgentError:
    """An answer that concerns every request: wrong keys, wrong clock, no such bucket."""
    message, hint = _REFUSED.get(error.code, (str(error), _TROUBLE if error.passing else ""))
    hint = hint.format(section=section)
    if error.code == "RequestTimeTooSkewed":
        message += _skew(error.date)
    if role and error.code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
        message, hint = (
            f"it does not accept the keys of the instance role {role} ({error.code})",
            "is it a store at AWS?",
        )
    return AgentError(f"bucket {bucket}: {message}", hint, KIND)


def incomplete(
    destination: str, region: str, role: str, missing: list[str], unknown: list[str], wrong: list[str]
) -> AgentError:
    """Everything that is missing, in the words an IAM policy uses; `role` is empty where keys are used."""
    lines = []
    hint = ""
    if missing:
        lines.append(f"{'the instance role ' + role if role else 'the access key'} lacks permissions on {destination}:")
        lines += [f"  {action} on {_resource(destination, region, action)}" for action in dict.fromkeys(missing)]
        lines += [f"  and perhaps {action} on {_resource(destination, region, action)}" for action in unknown]
        hint = f"allow them in the IAM policy of the {'role ' + role if role else 'user the access key belongs to'}"
        if not {"s3:ListBucket", "s3:PutObject", "s3:DeleteObject"} - set(missing):
            hint += f"; if the policy is right, is {urlsplit(destination).netloc} your bucket? S3 hides those of others"
    return AgentError("\n".join([*lines, *wrong]), hint, KIND)


def wrong_region(bucket: str, actual: str, asked: str, section: str) -> AgentError:
    """The bucket can be used, but every request takes a detour, and presigned URLs fail."""
    return AgentError(f"bucket {bucket} is in {actual}, not {asked}", f'set [{section}] region = "{actual}"', KIND)


def _resource(destination: str, region: str, action: str) -> str:
    parts = urlsplit(destination)
    partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    if not action.startswith("s3:"):
        return "the key that encrypts the bucket"  # kms:GenerateDataKey, kms:Decrypt
    if action == "s3:ListBucket":
        return f"arn:{partition}:s3:::{parts.netloc}"
    return f"arn:{partition}:s3:::{parts.netloc}{parts.path.rstrip('/')}/*"


def _skew(date: str) -> str:
    try:
        seconds = time.time() - parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return ""
    return f": it is {abs(seconds) / 60:.0f} minutes {'ahead of' if seconds > 0 else 'behind'} the store's"
