"""Plan and apply: the same checks, and after them the same resources made true in order."""

from __future__ import annotations

import time
from typing import Callable, Sequence

from mlflow_provision.agent.protocol import (
    CHANGED,
    FAILED,
    OK,
    AgentError,
    Event,
    Output,
    Result,
    Start,
    in_words,
    way_out,
)
from mlflow_provision.agent.resources import Context, Resource

Emit = Callable[[Event], None]


def plan(resources: Sequence[Resource], emit: Emit) -> int:
    """Emit for every resource whether it would change; returns how many would."""
    context = Context()
    for resource in resources:
        started = time.monotonic()
        try:
            change = resource.check(context)
        except (AgentError, OSError) as error:
            raise _failed(resource, error, started, emit) from None
        if change:
            context.changed.add(resource.id)
        verdict, summary, diff = (CHANGED, change.summary, change.diff) if change else (OK, "", "")
        emit(Result(resource.id, resource.title, verdict, time.monotonic() - started, summary, diff))
    return len(context.changed)


def apply(resources: Sequence[Resource], emit: Emit, stopping: Callable[[], bool]) -> int:
    """Make every resource true, in order; stops between two of them when asked. Returns how many changed."""
    context = Context(stopping=stopping)
    for resource in resources:
        if stopping():
            raise AgentError("stopped on request; what is done is done", kind="interrupted")
        started = time.monotonic()
        emit(Start(resource.id, resource.title))
        context.output = _output(resource.id, emit)
        try:
            change = resource.check(context)
            if change:
                resource.apply(context)
                context.changed.add(resource.id)
        except (AgentError, OSError) as error:
            raise _failed(resource, error, started, emit) from None
        verdict, summary = (CHANGED, change.summary) if change else (OK, "")
        emit(
            Result(
                resource.id, resource.title, verdict, time.monotonic() - started, summary, change.diff if change else ""
            )
        )
    return len(context.changed)


def _failed(resource: Resource, error: AgentError | OSError, started: float, emit: Emit) -> AgentError:
    """Emit that a step failed, and return why in words for people."""
    summary = error.message if isinstance(error, AgentError) else in_words(error)
    emit(Result(resource.id, resource.title, FAILED, time.monotonic() - started, summary))
    return error if isinstance(error, AgentError) else AgentError(f"{resource.title}: {summary}", way_out(error))


def _output(step: str, emit: Emit) -> Callable[[str], None]:
    return lambda line: emit(Output(step, line))
