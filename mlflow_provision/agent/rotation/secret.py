"""New secrets of the server: in use, proved, and only then the old ones forgotten."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any, Callable, Iterator

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.durable import duplicate, sync_folder
from mlflow_provision.agent.lock import held
from mlflow_provision.agent.protocol import AgentError, Event, in_words
from mlflow_provision.agent.resources.file import read, replace
from mlflow_provision.agent.rotation import gateway_keys
from mlflow_provision.agent.rotation.wanted import Wanted
from mlflow_provision.agent.steps import step

Emit = Callable[[Event], None]
Stopping = Callable[[], bool]


def rotate(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """New secrets; when anything fails, the old ones are in use again before the error is told. One that was killed is
    gone on with: repeat it until it says that it is done."""
    service = _service(wanted)
    ran = service.status()["running"] or _interrupted(wanted)
    with _no_backup(wanted, operator):
        _prepare(wanted, emit)
        old, new = _values(wanted.old), _values(wanted.next)
        keys: dict[str, Any] = {"locked": 0, "already": 0, "unreadable": []}
        try:
            _put(wanted, keys, old, new, emit, stopping)
            if ran:
                _prove(wanted, emit, stopping)
        except BaseException as error:
            raise _with_the_old_ones(wanted, old, new, ran, error, emit) from None
        _forget(wanted)
    answer = {"names": list(wanted.names), "keys": keys["locked"] + keys["already"], "unreadable": keys["unreadable"]}
    return {**answer, "restarted": ran}


def _interrupted(wanted: Wanted) -> bool:
    return os.path.exists(wanted.old) or os.path.exists(wanted.next)


def _prepare(wanted: Wanted, emit: Emit) -> None:
    """The old secrets and the new ones, each in a file of its own. Those of a run that was killed are gone on with."""
    with step(emit, "generate", "new secrets") as told:
        if os.path.exists(wanted.next) and os.path.exists(wanted.old):
            told.summary = "those of the run that was interrupted"
            return
        values = _values(wanted.secrets_env)
        if missing := [name for name in wanted.names if name not in values]:
            hint = "put it right first: mlflow-provision setup NAME"
            raise AgentError(f"{wanted.secrets_env} has no {', '.join(missing)}", hint)
        duplicate(wanted.secrets_env, wanted.old)
        _write(wanted, wanted.next, {**values, **{name: secrets.token_urlsafe(32) for name in wanted.names}})
        told.summary = ", ".join(wanted.names)


def _put(
    wanted: Wanted,
    keys: dict[str, Any],
    old: dict[str, str],
    new: dict[str, str],
    emit: Emit,
    stopping: Stopping,
) -> None:
    service = _service(wanted)
    running = service.status()["running"]
    if gateway_keys.count(wanted):
        with step(emit, "keys", "keys of the gateway locked anew") as told:
            service.stop(lambda: False)  # nobody may add one with the old passphrase meanwhile
            keys.update(gateway_keys.lock(wanted, old, new, stopping))
            told.summary = f"{keys['locked'] + keys['already']}"
    with step(emit, "secrets", wanted.secrets_env) as told:
        _write(wanted, wanted.secrets_env, new)
        told.summary = "replaced"
    if running or service.status()["running"]:
        with step(emit, "restart", "restart with the new secrets"):
            service.restart(stopping)


def _prove(wanted: Wanted, emit: Emit, stopping: Stopping) -> None:
    from mlflow_provision.agent.verify import passed

    service = _service(wanted)
    if not service.status()["healthy"]:
        service.start(stopping)
    passed(wanted.verify, emit, stopping, "the server does not pass its verification with the new secrets")


def _with_the_old_ones(
    wanted: Wanted, old: dict[str, str], new: dict[str, str], ran: bool, error: BaseException, emit: Emit
) -> BaseException:
    """The error to tell, after the way back."""
    if not isinstance(error, (AgentError, OSError)):
        return error
    message = error.message if isinstance(error, AgentError) else in_words(error)
    hint = error.hint if isinstance(error, AgentError) else ""
    kind = error.kind if isinstance(error, AgentError) else "failed"
    try:
        with step(emit, "undo", "back to the old secrets"):
            service = _service(wanted)
            if gateway_keys.count(wanted):
                service.stop(lambda: False)
                gateway_keys.lock(wanted, new, old, lambda: False)
            _write(wanted, wanted.secrets_env, old)
            if ran:
                service.restart(lambda: False)
            _forget(wanted)
    except (AgentError, OSError) as worse:
        why = worse.message if isinstance(worse, AgentError) else in_words(worse)
        again = "run the same command again when that is mended: it goes on where it stopped"
        return AgentError(f"{message}\nAnd the way back failed: {why}", again, kind)
    return AgentError(f"{message}\nNothing is lost: the old secrets are in use again.", hint, kind)


def _forget(wanted: Wanted) -> None:
    # In this order: as long as both are there, a repeated run goes on with them.
    for path in (wanted.next, wanted.old):
        Path(path).unlink(missing_ok=True)
    sync_folder(os.path.dirname(wanted.secrets_env))


def _write(wanted: Wanted, path: str, values: dict[str, str]) -> None:
    """With the mode and the owner of the file that is there."""
    model = Path(wanted.old)
    content = "".join(f"{name}={value}\n" for name, value in values.items())
    owner = (model.owner(), model.group()) if os.geteuid() == 0 else ("", "")
    replace(path, content, model.stat().st_mode & 0o777, *owner)


def _values(path: str) -> dict[str, str]:
    lines = (read(path) or "").splitlines()
    return {name: value for name, mark, value in (line.partition("=") for line in lines) if mark}


def _service(wanted: Wanted) -> Any:
    from mlflow_provision.agent.resources import from_json

    return from_json(wanted.service)


@contextlib.contextmanager
def _no_backup(wanted: Wanted, operator: str) -> Iterator[None]:
    """A backup made now would have the old secrets beside keys that have the new lock."""
    if not os.path.isdir(os.path.dirname(wanted.backup_lock)):
        yield
        return

    def touch() -> None:
        os.close(os.open(wanted.backup_lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644))

    as_user(wanted.owner, touch)
    with held(wanted.backup_lock, operator, f"rotate secret {wanted.deployment}"):
        yield
