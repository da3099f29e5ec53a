"""Whatever went wrong, for people."""

from __future__ import annotations

from mlflow_provision.agent.protocol import AgentError, in_words, way_out


def in_plain_words(error: BaseException) -> tuple[str, str, str]:
    """Message, hint and kind. What a bug quotes may be anything, also a secret."""
    if isinstance(error, AgentError):
        return error.message, error.hint, error.kind
    if isinstance(error, OSError):
        return in_words(error), way_out(error), "failed"
    return f"unexpected, a bug of ours: {type(error).__name__}", "", "failed"
