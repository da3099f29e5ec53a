"""What an HTTP answer of the server means."""

from __future__ import annotations

from typing import Any

from mlflow_provision.agent.http import Response
from mlflow_provision.agent.verify.checks import Failed, ServerError

BAD_HOST = "Invalid Host header"
BAD_ORIGIN = "Cross-origin request blocked"

_CAUSES = {
    401: "it does not accept this username and password",
    404: "is this an MLflow server? something else may answer at this address, or under a path prefix",
    413: "a proxy in front limits the size of uploads (nginx: client_max_body_size 0)",
    502: "a proxy in front does not reach the server",
    503: "the server is not serving this now, or not at all (artifacts need --serve-artifacts)",
    504: "a proxy in front gave up waiting (nginx: proxy_read_timeout)",
}


def unexpected(response: Response, expected: str) -> Failed:
    """The failure of getting this instead of what was expected."""
    kind = ServerError if response.status == 500 else Failed
    return kind(f"expected {expected}, got {response.status}: {_cause(response)}")


def content(response: Response) -> Any:
    """The JSON of a 200 answer; raises Failed for every other."""
    if response.status != 200:
        raise unexpected(response, "200")
    return response.json()


def _cause(response: Response) -> str:
    said = " ".join(response.text.split())[:300]
    if response.status == 403 and BAD_HOST in said:
        return "the Host check refuses the name (MLFLOW_SERVER_ALLOWED_HOSTS, [mlflow] allowed_hosts)"
    if response.status == 403 and BAD_ORIGIN in said:
        return "the origin check refuses the web page (MLFLOW_SERVER_CORS_ALLOWED_ORIGINS)"
    if response.status == 403:
        return f"the user may not do this: {said}"
    if response.status in (301, 302, 303, 307, 308):
        return "it redirects to {}".format(response.headers.get("location", "nowhere"))
    cause = _CAUSES.get(response.status, "")
    if response.status == 500 and (said in ("", "Internal Server Error") or "<html" in said):
        return "the server failed, its log says why"
    return ": ".join(part for part in (cause, said if response.status not in (401, 404) else "") if part)
