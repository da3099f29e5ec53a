"""Which credentials the server uses for its bucket: found where boto3 looks, in the order in which it does."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from typing import Mapping

from mlflow_provision.agent.s3.signature import Credentials

ENVIRONMENT, FILE, ROLE = "environment", "file", "instance role"
KEY, SECRET, TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"


@dataclass(frozen=True)
class Found:
    """`source` is one of the three above; `profile` is "" where none is named."""

    source: str
    keys: Credentials
    region: str
    endpoint_url: str
    profile: str


def found(environment: Mapping[str, str]) -> Found:
    """What a server with this environment uses; keys are empty where it asks the instance's role."""
    profile = environment.get("AWS_PROFILE", "")
    settings = {**profile_in(config_file(environment), profile or "default", config=True)}
    region = environment.get("AWS_DEFAULT_REGION") or environment.get("AWS_REGION") or settings.get("region", "")
    endpoint = environment.get("MLFLOW_S3_ENDPOINT_URL") or environment.get("AWS_ENDPOINT_URL_S3") or ""
    endpoint = endpoint or environment.get("AWS_ENDPOINT_URL", "")
    if environment.get(KEY.upper()):
        named = {name: environment.get(name.upper(), "") for name in (KEY, SECRET, TOKEN)}
        return Found(ENVIRONMENT, _credentials(named), region, endpoint, profile)
    named = profile_in(credentials_file(environment), profile or "default")
    if named.get(KEY):
        return Found(FILE, _credentials(named), region, endpoint, profile)
    return Found(ROLE, Credentials("", "", ""), region, endpoint, profile)


def credentials_file(environment: Mapping[str, str]) -> str:
    return environment.get("AWS_SHARED_CREDENTIALS_FILE") or f"{environment.get('HOME', '')}/.aws/credentials"


def config_file(environment: Mapping[str, str]) -> str:
    return environment.get("AWS_CONFIG_FILE") or f"{environment.get('HOME', '')}/.aws/config"


def profiles(path: str, config: bool = False) -> dict[str, dict[str, str]]:
    """Every profile in such a file; in a `config` file they are called `profile NAME`. {} when there is no file."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="\0")
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, ValueError):
        return {}
    start = "profile " if config else ""
    return {
        section[len(start) :] if start and section.startswith(start) else section: dict(parser.items(section))
        for section in parser.sections()
    }


def profile_in(path: str, profile: str, config: bool = False) -> dict[str, str]:
    """The settings of one of them."""
    return profiles(path, config).get(profile, {})


def _credentials(named: Mapping[str, str]) -> Credentials:
    return Credentials(named.get(KEY, ""), named.get(SECRET, ""), named.get(TOKEN, ""))
