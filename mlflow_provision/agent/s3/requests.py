"""What the operator's side may ask before anything is installed. Nothing is written on the host."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.protocol import Event, Output
from mlflow_provision.agent.s3.instance_role import METADATA_URL, NoInstanceRole, role_credentials
from mlflow_provision.agent.s3.probe import prove
from mlflow_provision.agent.s3.signature import Credentials

STEP = "store"


def role(data: dict[str, Any]) -> dict[str, str]:
    """The name of the host's instance role, or the reason why it has none."""
    try:
        name, _ = role_credentials(data.get("metadata_url") or METADATA_URL)
    except NoInstanceRole as error:
        return {"role": "", "reason": str(error)}
    return {"role": name, "reason": ""}


def store(data: dict[str, Any], emit: Callable[[Event], None]) -> dict[str, Any]:
    """Put, get, list and (unless "append_only") delete under a destination.

    Raises AgentError of kind "store" with all that is missing.
    """
    keys = Credentials(data["access_key_id"], data["secret_access_key"], data["session_token"])
    metadata_url = data.get("metadata_url", "")
    prove(
        data["destination"],
        data["region"],
        data["endpoint_url"],
        keys,
        metadata_url,
        lambda line: emit(Output(STEP, line)),
        data.get("section", "artifacts"),
        data.get("append_only", False),
    )
    return {}
