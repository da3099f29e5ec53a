"""The end of a change that failed: what was there before comes back, and people are told how things stand."""

from __future__ import annotations

from typing import Callable

from mlflow_provision.agent.protocol import AgentError, words


def gone(error: BaseException, back: Callable[[], str], again: str) -> AgentError:
    """The error that ends the request, after `back`, which says in words what is as it was. `again`: what a person
    does next where `back` fails, too."""
    message, hint, kind = words(error)
    try:
        state = back()
    except (AgentError, OSError) as worse:
        return AgentError(f"{message}\nAnd the way back failed: {words(worse)[0]}", again, kind)
    return AgentError(
        f"{message}\nNothing is lost: {state}", hint or "mend that, then run the same command again", kind
    )
