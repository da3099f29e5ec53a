"""What AWS and botocore refuse, in words: what could not be done, why, and what to type next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.aws import NotAllowed, default_region
from mlflow_provision.aws.session import client, command, partition_of, told
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.aws_account import PROFILE, REGION, account

pytest.importorskip("moto", reason="moto is not installed here")


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with account(tmp_path, monkeypatch):
        yield tmp_path


def of_aws(code: str, message: str = "some words") -> Exception:
    from botocore.exceptions import ClientError

    error: Exception = ClientError({"Error": {"Code": code, "Message": message}}, "DoSomething")
    return error


def of_botocore(name: str, **words: Any) -> Exception:
    import botocore.exceptions

    error: Exception = getattr(botocore.exceptions, name)(**words)
    return error


def refusal(error: Exception, profile: str = PROFILE) -> ProvisionError:
    with pytest.raises(ProvisionError) as caught, told("do it", profile):
        raise error
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert caught.value.message.startswith("cannot do it: ") or "profile" in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("code", "told_why", "hint"),
    [
        ("AccessDenied", "may not (DoSomething is denied)", "aws sts get-caller-identity --profile work"),
        ("UnauthorizedOperation", "may not", "to allow DoSomething"),
        ("InvalidClientTokenId", "does not know the access key", "aws configure --profile work"),
        ("AuthFailure", "does not know the access key", "aws configure --profile work"),
        ("SignatureDoesNotMatch", "the secret access key of the AWS profile 'work' is wrong", "aws configure"),
        ("ExpiredToken", "has expired", "aws login --profile work"),
        ("OptInRequired", "not subscribed", "--region"),
        ("Throttling", "some words (Throttling)", "aws sts get-caller-identity"),
    ],
)
def test_what_aws_refuses(aws: Path, code: str, told_why: str, hint: str) -> None:
    error = refusal(of_aws(code))
    assert told_why in error.message and hint in error.hint
    assert isinstance(error, NotAllowed) == (code in ("AccessDenied", "UnauthorizedOperation"))


def test_a_denial_names_the_permission_and_not_its_code(aws: Path) -> None:
    words = "User: arn:aws:iam::1:user/u is not authorized to perform: iam:CreateRole on resource: role r"
    error = refusal(of_aws("AccessDenied", words), "")
    assert error.message == "cannot do it: your default AWS credentials may not (iam:CreateRole is denied)"
    assert "to allow iam:CreateRole" in error.hint and error.hint.endswith("aws sts get-caller-identity")


@pytest.mark.parametrize(
    ("name", "words", "told_why", "hint"),
    [
        ("UnauthorizedSSOTokenError", {}, "has expired", "aws sso login --profile work"),
        ("TokenRetrievalError", {"provider": "sso", "error_msg": "CANARY"}, "has expired", "aws sso login"),
        ("NoCredentialsError", {}, "no usable access key", "aws configure --profile work"),
        ("PartialCredentialsError", {"provider": "x", "cred_var": "y"}, "no usable access key", "aws configure"),
        ("NoRegionError", {}, "no region is known", "aws configure set region REGION --profile work"),
        ("EndpointConnectionError", {"endpoint_url": "x"}, "does not answer", "check the network"),
        ("SSLError", {"endpoint_url": "x", "error": "CANARY"}, "SSLError", "AWS_CA_BUNDLE"),
        ("ProfileNotFound", {"profile": "gone"}, "there is no AWS profile 'gone'", "aws configure --profile gone"),
        ("MissingDependencyException", {"msg": "CANARY"}, "one more package", "botocore[crt]"),
        ("ParamValidationError", {"report": "CANARY"}, "ParamValidationError", "aws sts"),
    ],
)
def test_what_botocore_refuses(aws: Path, name: str, words: dict[str, Any], told_why: str, hint: str) -> None:
    error = refusal(of_botocore(name, **words))
    assert told_why in error.message and hint in error.hint
    assert "CANARY" not in error.message + error.hint


def test_other_errors_stay_what_they_are(aws: Path) -> None:
    with pytest.raises(KeyError), told("do it", PROFILE):
        raise KeyError("ours")
    with pytest.raises(ProvisionError, match="known already"), told("do it", PROFILE):
        raise ProvisionError("known already", "hint")


def test_a_client_has_the_region_of_its_profile_and_the_keys_too(aws: Path) -> None:
    assert client("ec2", PROFILE).meta.region_name == REGION
    assert client("ec2", PROFILE, "eu-west-1").meta.region_name == "eu-west-1"
    assert client("s3", PROFILE, endpoint_url="http://127.0.0.1:9").meta.endpoint_url == "http://127.0.0.1:9"


def test_a_profile_that_the_environment_names(aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", PROFILE)
    assert default_region("") == REGION
    monkeypatch.setenv("AWS_PROFILE", "gone")
    for ask in (lambda: default_region(""), lambda: client("s3", "")):
        with pytest.raises(ProvisionError, match="there is no AWS profile 'gone'") as caught:
            ask()
        assert caught.value.code == ExitCode.USAGE


def test_a_broken_file_is_named(aws: Path) -> None:
    (aws / "aws-credentials").write_text("[work]\nCANARY\n")
    for profile in (PROFILE, ""):
        with pytest.raises(ProvisionError, match="aws-credentials is not a file that") as caught:
            client("s3", profile)
        assert "CANARY" not in caught.value.message


def test_commands_to_type() -> None:
    assert command("s3 ls", "", "us-west-1") == "aws s3 ls --region us-west-1"
    assert command("s3 ls", "a; rm -rf") == "aws s3 ls --profile PROFILE"
    assert [partition_of(one) for one in ("eu-west-1", "cn-north-1", "us-gov-west-1", "")] == [
        *("aws", "aws-cn", "aws-us-gov", "aws")
    ]
