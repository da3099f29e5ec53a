"""An AWS account that moto plays inside the test, and profiles in a ~/.aws of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

REGION = "us-west-1"
PROFILE = "work"
KEYS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")


@contextmanager
def account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block `work` is a profile of an account in which everything is allowed and nothing exists yet."""
    from botocore import loaders
    from moto import mock_aws

    models = _models()  # most of a second for each client otherwise
    monkeypatch.setattr(loaders, "create_loader", lambda search_path_string=None: models)
    for variable in ("PROFILE", "REGION", "DEFAULT_REGION", "ENDPOINT_URL", *KEYS):
        monkeypatch.delenv("AWS_" + variable, raising=False)
    with mock_aws(config={"core": {"mock_credentials": False}}):
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "aws-credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "aws-config"))
        (folder / "aws-credentials").write_text(
            f"[{PROFILE}]\naws_access_key_id = AKIA\naws_secret_access_key = CANARY\n"
        )
        (folder / "aws-config").write_text(f"[profile {PROFILE}]\nregion = {REGION}\n")
        yield


@cache
def _models() -> Any:
    from botocore.loaders import create_loader

    return create_loader()


@cache
def client(service: str, region: str = REGION) -> Any:
    """To prepare and look behind the scenes, within `account` only."""
    import boto3

    return boto3.client(service, region_name=region, aws_access_key_id="test", aws_secret_access_key="test")
