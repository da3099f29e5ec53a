"""Proves that a server works, the way its users will use it."""

from __future__ import annotations

from typing import Any, Callable

from mlflow_provision.agent.protocol import FAILED, AgentError, Event
from mlflow_provision.agent.verify import access, service
from mlflow_provision.agent.verify.checks import Checks
from mlflow_provision.agent.verify.log import ServerLog
from mlflow_provision.agent.verify.target import Target, target

__all__ = ["passed", "verify"]


def verify(
    data: dict[str, Any], emit: Callable[[Event], None], stopping: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Run every check of the level asked for. What was made is removed, whatever happens in between."""
    server = target(data)
    checks = Checks(emit, stopping, server.password, ServerLog(server).last_exception)
    _who_gets_in(checks, server)
    if server.level == "full":
        _what_it_is_for(checks, server)
    checks.run("port", f"port {server.port} is bound at {server.listen} only", lambda: service.port(server))
    checks.run("enabled", "starts at boot", lambda: service.enabled(server))
    if server.kill:
        checks.run("kill", "comes back after kill -9", lambda: service.kill(server, stopping), ["health"])
    if stopping():
        raise AgentError("the verification was stopped; it has cleaned up", "run it again", "interrupted")
    return checks.report()


def passed(
    data: dict[str, Any], emit: Callable[[Event], None], stopping: Callable[[], bool], otherwise: str
) -> list[dict[str, Any]]:
    """The checks of a verification that the server passes. Raises AgentError, whose message begins with `otherwise`,
    and says which ones it does not."""
    checks: list[dict[str, Any]] = verify(data, emit, stopping)["checks"]
    wrong = [f"{check['title']}: {check['summary']}" for check in checks if check["verdict"] == FAILED]
    if wrong:
        raise AgentError(f"{otherwise}: {'; '.join(wrong)}")
    return checks


def _who_gets_in(checks: Checks, server: Target) -> None:
    up = ["health"]
    checks.run("health", "is healthy", lambda: access.health(server))
    checks.run("anonymous", "refuses anonymous requests", lambda: access.anonymous(server), up)
    if server.level == "full":
        checks.run("wrong-password", "refuses a wrong password", lambda: access.wrong_password(server), up)
    checks.run("login", f"lets {server.username} log in", lambda: access.login(server), up)
    checks.run("host", "answers to its names", lambda: access.hosts(server), up)
    checks.run("foreign-host", "refuses a foreign Host", lambda: access.foreign_host(server), up)
    logged_in = checks.passed("login")
    checks.run("origin", "lets its web page write", lambda: access.origins(server, logged_in), up)
    checks.run("foreign-origin", "refuses foreign web pages", lambda: access.foreign_origin(server), up)


def _what_it_is_for(checks: Checks, server: Target) -> None:
    # Imported late: a quick verification has no use for it, and the agent is compiled anew on every request.
    from mlflow_provision.agent.verify.cleanup import clean_up
    from mlflow_provision.agent.verify.tracking import Tracking

    work = Tracking(server.client, server.artifact_bytes)
    try:
        checks.run("experiment", "creates an experiment", work.experiment, ["login"])
        checks.run("run", "keeps a run's parameters and metrics", work.run, ["experiment"])
        checks.run("artifact-uri", "serves artifacts itself", work.artifact_uri, ["run"])
        checks.run("artifact-upload", "takes an artifact", work.upload, ["artifact-uri"])
        checks.run("artifact-download", "gives the same artifact back", work.download, ["artifact-upload"])
    finally:
        checks.finish("cleanup", "is left as it was", lambda: clean_up(server, work), ["login"])
