"""What the agent asks of the operator's side in the middle of a request, and the lines that answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mlflow_provision.agent.protocol import AgentError, Ask, in_words, way_out
from mlflow_provision.errors import ProvisionError

# (what is asked, its arguments) -> the answer. Its `close`, if it has one, is called when the request is over.
Reply = Callable[[str, dict[str, Any]], dict[str, Any]]


def to(question: Ask, reply: Reply | None) -> bytes:
    """The line that goes back. What goes wrong here is the agent's to tell."""
    try:
        if reply is None:
            raise AgentError(f"nobody here can answer the host's question {question.call!r}")
        return _line(question, reply(question.call, question.arguments))
    except AgentError as error:
        return _line(question, {}, [error.message, error.hint, error.kind])
    except ProvisionError as error:
        return _line(question, {}, [error.message, error.hint, "failed"])
    except OSError as error:
        return _line(question, {}, [f"on the operator's machine: {in_words(error)}", way_out(error), "failed"])


def over(reply: Reply | None) -> None:
    """Nothing more will be asked."""
    if close := getattr(reply, "close", None):
        close()


def _line(question: Ask, reply: dict[str, Any], error: list[str] | None = None) -> bytes:
    return json.dumps({"id": question.id, "reply": reply, **({"error": error} if error else {})}).encode() + b"\n"
