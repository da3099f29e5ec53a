"""Who gets in, and who does not."""

from __future__ import annotations

import secrets
from dataclasses import replace

from mlflow_provision.agent.http import NoAnswer, Response
from mlflow_provision.agent.verify.answers import BAD_HOST, BAD_ORIGIN, content, unexpected
from mlflow_provision.agent.verify.checks import Failed, Skipped
from mlflow_provision.agent.verify.target import Target

# .invalid never resolves: no server can mean it when it allows names.
_FOREIGN = "foreign.mlflow-provision.invalid"
_SEARCH = "/2.0/mlflow/experiments/search"
_UNKNOWN_PASSWORD = "the password is not known here: set MLFLOW_PROVISION_ADMIN_PASSWORD"  # noqa: S105 - a sentence
_UNGUARDED = "it does not: MLflow before 3.10 cannot tell all of them, so upgrade it again soon"


def health(target: Target) -> str:
    try:
        response = target.client.anonymous().call("GET", "/health")
    except NoAnswer as error:
        raise Failed(f"{error} (`mlflow-provision status` says why)") from None
    if response.status != 200:
        raise unexpected(response, "200 from /health")
    return target.url


def anonymous(target: Target) -> str:
    response = target.client.anonymous().call("GET", "/api" + _SEARCH, query={"max_results": "1"})
    if response.status == 200:
        raise Failed(
            "expected 401, got 200: everybody can read everything, the server runs without --app-name basic-auth"
        )
    if response.status != 401:
        raise unexpected(response, "401 without credentials")
    return "401 without credentials"


def wrong_password(target: Target) -> str:
    client = replace(target.client, password=secrets.token_urlsafe(24))
    response = client.call("GET", "/api/2.0/mlflow/users/current")
    if response.status == 200:
        raise Failed("expected 401, got 200: a random password was accepted")
    if response.status != 401:
        raise unexpected(response, "401")
    return f"401 for {target.username} with a random password"


def login(target: Target) -> str:
    if not target.password:
        raise Skipped(_UNKNOWN_PASSWORD)
    response = target.client.call("GET", "/api/2.0/mlflow/users/current")
    if response.status == 404:  # MLflow before 3.13
        response = target.client.call("GET", "/api/2.0/mlflow/users/get", query={"username": target.username})
    if response.status == 401:
        raise Failed(
            f"expected 200, got 401: the server has another password for {target.username}, or no such user; "
            "if it was changed on the server, put the new one into MLFLOW_PROVISION_ADMIN_PASSWORD"
        )
    user = content(response)["user"]
    if not user["is_admin"]:
        raise Failed(f"{user['username']} can log in, but is no administrator")
    return f"{user['username']} is an administrator"


def hosts(target: Target) -> str:
    if not target.hosts:
        raise Skipped("no names to try")
    for host in target.hosts:
        response = _search_as(target, host)
        # The Host check comes first: whatever else is answered, the name was accepted.
        if response.status == 403 and BAD_HOST in response.text:
            raise unexpected(response, f"the name {host} to be accepted")
    return ", ".join(target.hosts)


def foreign_host(target: Target) -> str:
    response = _search_as(target, _FOREIGN)
    open_to_all = (
        "the server answers to any name (MLFLOW_SERVER_ALLOWED_HOSTS=*?), so a web page can reach it by DNS rebinding"
    )
    _expect_403(target, response, BAD_HOST, "the Host check", open_to_all)
    return f"403 for Host: {_FOREIGN}"


def origins(target: Target, logged_in: bool) -> str:
    if not target.origins:
        raise Skipped("no origins to try")
    client = target.client if logged_in else target.client.anonymous()
    expected = 200 if logged_in else 401
    # Where strangers are let in, which `anonymous` tells, the origin was accepted, too.
    accepted = (expected,) if logged_in else (expected, 200)
    for origin in target.origins:
        # As a browser sends it from the web page at that origin.
        headers = {"Host": origin.partition("://")[2], "Origin": origin}
        response = client.call("POST", "/ajax-api" + _SEARCH, data={"max_results": 1}, headers=headers)
        if response.status not in accepted:
            raise unexpected(response, f"{expected} for a POST from the web page at {origin}")
    return ", ".join(target.origins)


def foreign_origin(target: Target) -> str:
    headers = {"Origin": f"https://{_FOREIGN}"}
    client = target.client.anonymous()
    response = client.call("POST", "/ajax-api" + _SEARCH, data={"max_results": 1}, headers=headers)
    open_to_all = (
        "any web page that a user visits can write with that user's login "
        "(MLFLOW_SERVER_CORS_ALLOWED_ORIGINS=*, or the security middleware is off)"
    )
    _expect_403(target, response, BAD_ORIGIN, "the origin check", open_to_all)
    return f"403 for Origin: https://{_FOREIGN}"


def _expect_403(target: Target, response: Response, words: str, check: str, open_to_all: str) -> None:
    """`words` are what the check says; `open_to_all` is what it means that there is none."""
    if response.status in (200, 401) and not target.guarded:
        raise Skipped(_UNGUARDED)
    if response.status in (200, 401):
        raise Failed(f"expected 403, got {response.status}: {open_to_all}")
    if response.status != 403 or words not in response.text:
        raise unexpected(response, f"403 from {check}")


def _search_as(target: Target, host: str) -> Response:
    client = target.client.anonymous()
    return client.call("GET", "/api" + _SEARCH, query={"max_results": "1"}, headers={"Host": host})
