"""MLflow's own API for users, and its refusals in words."""

from __future__ import annotations

import json
from typing import Any, Callable

from mlflow_provision.agent.http import Client, NoAnswer, Response
from mlflow_provision.agent.protocol import AgentError

USERS = "/api/2.0/mlflow/users"
V2 = "/api/2.0/mlflow"
V3 = "/api/3.0/mlflow"

ABSENT = "absent"  # kinds of the AgentError about something that is not there, or is there already
EXISTS = "exists"
PASSWORD = "password"  # noqa: S105 - of the one about a login that is refused
_KINDS = {"RESOURCE_DOES_NOT_EXIST": ABSENT, "RESOURCE_ALREADY_EXISTS": EXISTS}


class NoRoute(Exception):
    """This version of MLflow has no such call."""


def call(client: Client, method: str, path: str, what: str, data: dict[str, Any]) -> Any:
    """The answer of one call. Raises NoRoute, or AgentError: it could not do `what`, and why."""
    try:
        response = (
            client.call(method, path, query={name: str(value) for name, value in data.items()})
            if method == "GET"
            else client.call(method, path, data=data)
        )
    except NoAnswer as error:
        hint = "see why: mlflow-provision status NAME; to start it: mlflow-provision start NAME"
        raise AgentError(f"cannot {what}: the server does not answer: {error}", hint, "silent") from None
    if response.status == 200:
        return json.loads(response.text or "{}")
    raise _refusal(client, response, what)


def logs_in(client: Client) -> bool:
    """Does the server take this name and password? Raises AgentError when it does not say."""
    try:
        response = client.call("GET", f"{USERS}/get", query={"username": client.username})
    except NoAnswer as error:
        raise AgentError(f"the server does not answer: {error}", "mlflow-provision status NAME", "silent") from None
    if response.status in (200, 401):
        return response.status == 200
    raise _refusal(client, response, f"log in as {client.username}")


def either(first: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """What the first call answers, or, where this MLflow has none, another one."""
    try:
        return first()
    except NoRoute:
        return otherwise()


def _refusal(client: Client, response: Response, what: str) -> Exception:
    if response.status == 404 and "error_code" not in response.text:
        return NoRoute()
    if response.status == 401:
        return password_refused(client.username)
    said, code = _said(response)
    if response.status == 403:
        hint = "with the login of another administrator, or for this one: mlflow-provision user password "
        return AgentError(
            f"cannot {what}: {client.username} is no administrator of this server any more",
            f"{hint}{client.username} NAME --reset",
        )
    if response.status >= 500:
        return AgentError(f"cannot {what}: the server failed: {said}", "its log says why: mlflow-provision logs NAME")
    return AgentError(f"cannot {what}: {said}", "", _KINDS.get(code, "refused"))


def password_refused(username: str) -> AgentError:
    """The password that the operator's side knows is not that of the server."""
    return AgentError(
        f"the server does not take the password of {username} that is known here",
        f"if it is lost, set a new one without it: mlflow-provision user password {username} NAME --reset",
        PASSWORD,
    )


def _said(response: Response) -> tuple[str, str]:
    """What MLflow says, and its word for the kind of error."""
    try:
        body = response.json()
        # What follows may be a statement of SQL.
        return str(body["message"]).partition("\n")[0], str(body.get("error_code", ""))
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:300] or f"HTTP {response.status}", ""
