"""The places that were typed for a move: that of --to, and the folders of --as-root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.config import Deployment

_OF_THE_PLACE = ("region", "endpoint_url", "aws_profile", "instance_role", "aws_keys")


def elsewhere(deployment: Deployment, place: dict[str, Any]) -> Deployment | None:
    """The deployment with the place of --to; None without one."""
    from mlflow_provision.cli.flags import given, spoken
    from mlflow_provision.config import changed, validate

    if not place.get("artifacts"):
        for flag in _OF_THE_PLACE:
            if place.get(flag):
                raise ProvisionError(
                    f"--{flag.replace('_', '-')} is about the place of --to, and there is none",
                    "name it: --to s3://bucket/prefix; for old buckets there is --from-profile PROFILE",
                    ExitCode.USAGE,
                )
        return None
    new = changed(deployment, given(place))
    if problems := [spoken(problem).replace("--artifacts:", "--to:") for problem in validate(new)]:
        raise ProvisionError("\n".join(problems), "see mlflow-provision move-artifacts --help", ExitCode.USAGE)
    return new


def absolute(folder: str) -> str:
    """The folder, which must be given from the / on."""
    if not folder.startswith("/"):
        raise ProvisionError(
            f"--as-root {folder} is not an absolute folder of the host", "write it from the / on", ExitCode.USAGE
        )
    return folder
