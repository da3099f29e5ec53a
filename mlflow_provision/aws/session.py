"""Clients of AWS as the operator, and what AWS or botocore refuses, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow_provision.aws.profiles import option, read_profiles, unknown_profile
from mlflow_provision.config.wording import shown
from mlflow_provision.errors import ExitCode, ProvisionError

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
ATTEMPTS = 3

TAG = ("created-by", "mlflow-provision")  # on everything that we make at AWS

_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled"}
_UNKNOWN_KEY = {"InvalidAccessKeyId", "InvalidClientTokenId", "AuthFailure", "UnrecognizedClientException"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidToken"}
_SIGN_IN = {  # botocore's exceptions about a session of hours that is over
    "UnauthorizedSSOTokenError": "sso login",
    "SSOTokenLoadError": "sso login",
    "TokenRetrievalError": "sso login",
    "SSOError": "sso login",
    "LoginRefreshRequired": "login",
    "LoginTokenLoadError": "login",
    "LoginInsufficientPermissions": "login",
    "LoginError": "login",
}


class NotAllowed(ProvisionError):
    """The credentials are good, but do not permit it."""


def client(service: str, profile: str, region: str = "", endpoint_url: str = "") -> Any:
    """A boto3 client; an empty profile means the default credentials, an empty region that of the profile."""
    import boto3
    from botocore.config import Config

    settings = Config(
        connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT, retries={"total_max_attempts": ATTEMPTS}
    )
    with told(f"use {whose(profile)}", profile):
        known = read_profiles()
        if profile and profile not in known:
            raise unknown_profile(profile)
        session = boto3.Session(profile_name=profile or None, region_name=region or None)
        return session.client(service, endpoint_url=endpoint_url or None, config=settings)


def default_region(profile: str) -> str:
    """The region that the AWS tools would use with this profile; "" if none is set."""
    import botocore.session

    if profile and profile not in read_profiles():
        raise unknown_profile(profile)
    with told(f"use {whose(profile)}", profile):
        return str(botocore.session.Session(profile=profile or None).get_config_variable("region") or "")


def regions(profile: str) -> list[str]:
    """All regions that have EC2, in the partition of the profile's own. AWS is not asked."""
    import botocore.session

    own = default_region(profile)
    partition = partition_of(own)
    return sorted(botocore.session.Session().get_available_regions("ec2", partition))


def partition_of(region: str) -> str:
    """The part of AWS that a region belongs to, as ARNs spell it."""
    for start, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc")):
        if region.startswith(start):
            return partition
    return "aws"


def whose(profile: str) -> str:
    return f"the AWS profile {shown(profile)}" if profile else "your default AWS credentials"


def command(words: str, profile: str, region: str = "") -> str:
    """A command of the AWS command line, as something to type."""
    suffix = f" {option(profile)}" if profile else ""
    return f"aws {words}{suffix}" + (f" --region {region}" if region else "")


def code_of(error: Exception) -> str:
    """What AWS calls the error; "" for an error that did not come from there."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def denied(error: Exception) -> bool:
    return code_of(error) in _DENIED or code_of(error) in ("403", "Forbidden")


@contextmanager
def told(what: str, profile: str) -> Iterator[None]:
    """What goes wrong at AWS within the block becomes a ProvisionError: it could not do `what`, and why."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        refusal = _refusal(what, profile, error)
    except BotoCoreError as error:
        refusal = _trouble(what, profile, error)
    else:
        return
    raise refusal from None  # botocore's errors may quote what belongs to nobody else


def _refusal(what: str, profile: str, error: Any) -> ProvisionError:
    code = code_of(error)
    if denied(error):
        may_not = re.search(r"not authorized to perform: ([\w-]+:\w+)", str(error))
        action = may_not[1] if may_not else error.operation_name
        hint = f"ask whoever manages the account to allow {action}; see who you are: " + command(
            "sts get-caller-identity", profile
        )
        return NotAllowed(f"cannot {what}: {whose(profile)} may not ({action} is denied)", hint)
    if code in _UNKNOWN_KEY:
        hint = f"{command('sts get-caller-identity', profile)}; to enter other keys: {command('configure', profile)}"
        return ProvisionError(
            f"cannot {what}: AWS does not know the access key of {whose(profile)}, or not in this region: "
            "some have to be enabled for an account first",
            hint,
        )
    if code == "SignatureDoesNotMatch":
        return ProvisionError(
            f"cannot {what}: the secret access key of {whose(profile)} is wrong", command("configure", profile)
        )
    if code in _EXPIRED:
        return _signed_out(what, profile, "login")
    if code == "OptInRequired":
        return ProvisionError(
            f"cannot {what}: the account is not subscribed to this", "choose another region with --region"
        )
    message = str(error.response.get("Error", {}).get("Message", "")) or code
    return ProvisionError(
        f"cannot {what}: {message.partition(' Encoded authorization')[0]} ({code})",
        f"see if AWS answers: {command('sts get-caller-identity', profile)}",
    )


def _trouble(what: str, profile: str, error: Any) -> ProvisionError:
    kind = type(error).__name__
    if kind in _SIGN_IN:
        return _signed_out(what, profile, _SIGN_IN[kind])
    if kind == "ProfileNotFound":  # the one that AWS_PROFILE names
        return unknown_profile(str(error.kwargs["profile"]))
    if kind == "MissingDependencyException":
        return ProvisionError(
            f"cannot {what}: {whose(profile)} signs in with `aws login`, which needs one more package",
            "pip install 'botocore[crt]'",
        )
    if kind in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
        return ProvisionError(
            f"cannot {what}: {whose(profile)} {'have' if not profile else 'has'} no usable access key",
            command("configure", profile) if profile else "aws configure, or name a profile: --aws-profile PROFILE",
        )
    if kind in ("NoRegionError", "InvalidRegionError"):
        return ProvisionError(
            f"cannot {what}: no region is known",
            f"{command('configure set region REGION', profile)}, or give --region",
            ExitCode.USAGE,
        )
    if kind in ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"):
        return ProvisionError(
            f"cannot {what}: AWS does not answer from this machine",
            "check the network, the proxy and the region; then see if AWS answers: "
            + command("sts get-caller-identity", profile),
        )
    if kind in ("SSLError", "ProxyConnectionError"):
        return ProvisionError(
            f"cannot {what}: the connection to AWS fails ({kind})", "check HTTPS_PROXY and AWS_CA_BUNDLE"
        )
    return ProvisionError(f"cannot {what}: {kind}", command("sts get-caller-identity", profile))


def _signed_out(what: str, profile: str, how: str) -> ProvisionError:
    return ProvisionError(f"cannot {what}: the session of {whose(profile)} has expired", command(how, profile))
