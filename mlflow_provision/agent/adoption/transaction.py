"""The verb `adopt`: ours takes over with everything the old server had, or the old server comes back."""

from __future__ import annotations

import time
from typing import Any, Callable

from mlflow_provision.agent.adoption import ADOPTED, STARTING, readable
from mlflow_provision.agent.adoption.move import INVENTORY
from mlflow_provision.agent.adoption.rollback import roll_back
from mlflow_provision.agent.apply import apply
from mlflow_provision.agent.http import Client
from mlflow_provision.agent.protocol import CHANGED, FAILED, OK, AgentError, Event, Result, Start, in_words
from mlflow_provision.agent.resources import Resource, from_json
from mlflow_provision.agent.resources.adopted_data import AdoptedData

Emit = Callable[[Event], None]


def adopt(data: dict[str, Any], emit: Emit, stopping: Callable[[], bool]) -> dict[str, Any]:
    """Apply the resources, among them one AdoptedData; verify; compare. Returns what was adopted.

    Whatever fails once the old server has been stopped, it runs again before the error is told.
    """
    from mlflow_provision.agent.verify import passed

    resources: list[Resource] = [from_json(item) for item in data["resources"]]
    adopted = next(resource for resource in resources if isinstance(resource, AdoptedData))
    if adopted.journal.unfinished and adopted.journal.phase != STARTING:
        _undo(adopted, emit, "what was interrupted")
    try:
        changes = apply(resources, emit, stopping)
        checks = passed(data["verify"], emit, stopping, "the new server does not pass its verification")
        counts = _nothing_is_lost(adopted, _client(data["verify"]), emit, stopping)
        adopted.journal.write(ADOPTED)
    except BaseException as error:
        if not adopted.journal.unfinished:
            raise
        raise _failed(adopted, error, emit) from None
    return {"changes": changes, "checks": checks, "adopted": counts, "backup": adopted.journal.folder}


def _undo(adopted: AdoptedData, emit: Emit, what: str) -> str:
    started = time.monotonic()
    emit(Start("rollback", f"undoing {what}"))
    try:
        done = roll_back(adopted)
    except (AgentError, OSError) as error:
        message = error.message if isinstance(error, AgentError) else in_words(error)
        emit(Result("rollback", f"undoing {what}", FAILED, time.monotonic() - started, message))
        raise
    emit(Result("rollback", f"undoing {what}", CHANGED, time.monotonic() - started, done))
    return done


def _failed(adopted: AdoptedData, error: BaseException, emit: Emit) -> AgentError:
    """The error that ends the request, after the way back; it says how things stand."""
    kind, hint = "failed", "mend that, then run the same command again"
    if isinstance(error, AgentError):
        message, kind, hint = error.message, error.kind, error.hint or hint
    elif isinstance(error, OSError):
        message = in_words(error)
    else:
        message = f"unexpected, a bug of ours: {type(error).__name__}"
    try:
        state = _undo(adopted, emit, "the adoption")
    except (AgentError, OSError) as worse:
        why = worse.message if isinstance(worse, AgentError) else in_words(worse)
        again = "run the same command again: it goes on undoing first"
        return AgentError(f"{message}\nAnd the way back failed: {why}", again, kind)
    return AgentError(f"{message}\nNothing is lost: {state}", hint, kind)


def _client(request: dict[str, Any]) -> Client:
    """Ours, as its administrator."""
    return Client(request["url"], request["username"], request["password"])


def _nothing_is_lost(adopted: AdoptedData, client: Client, emit: Emit, stopping: Callable[[], bool]) -> dict[str, int]:
    """What the old server showed and the files it had are read back from ours."""
    title, started = "everything readable before is readable now", time.monotonic()
    emit(Start("compare", title))
    inventory = adopted.journal.kept(INVENTORY)
    try:
        missing = readable.lost(inventory["before"], client, stopping) if inventory.get("before") else []
        wrong, downloaded = readable.wrong_copies(client, inventory.get("copied", {}), stopping)
    except readable.Unreadable as error:
        missing, wrong, downloaded = [str(error)], [], 0
    counts: dict[str, int] = inventory.get("counts", {})
    missing += [f"the artifact {relative}" for relative in wrong]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        emit(Result("compare", title, FAILED, time.monotonic() - started, ", ".join(missing[:5]) + more))
        raise AgentError("our server does not show what the old one did: " + ", ".join(missing[:5]) + more)
    said = f"{counts.get('runs', 0)} runs, {downloaded} of {counts.get('artifacts', 0)} artifact files byte for byte"
    emit(Result("compare", title, OK, time.monotonic() - started, said))
    return counts
