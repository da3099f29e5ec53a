"""Questions from the agent to the operator's side in the middle of a request, and the replies that come back."""

from __future__ import annotations

import json
import os
import queue
import select
from typing import Any, Callable, Optional

from mlflow_provision.agent.protocol import AgentError, Ask, Event

_arrived: queue.SimpleQueue[Optional[dict[str, Any]]] = queue.SimpleQueue()
_wake: tuple[int, int] | None = None  # a pipe: something to select on until a reply arrives
_pipe: int | None = None  # in a child of ours: its parent reads stdin, and forwards what arrives
_rest = b""


def arrived(reply: dict[str, Any] | None) -> None:
    """A reply has come in; None: nobody is there any more."""
    _arrived.put(reply)
    if _wake:
        os.write(_wake[1], b".")


def ask(emit: Callable[[Event], None], call: str, **arguments: Any) -> dict[str, Any]:
    """What the operator's side answers. Raises AgentError: its own, or of kind "interrupted" when it has gone."""
    emit(Ask(call, arguments))
    reply = _arrived.get() if _pipe is None else _from_pipe(_pipe)
    if reply is None:
        raise AgentError("the operator's side has gone", kind="interrupted")
    if reply.get("error"):
        raise AgentError(*reply["error"])
    answer: dict[str, Any] = reply["reply"]
    return answer


def replies_come_from(pipe: int) -> None:
    """From now on this process, a child, reads what its parent forwards."""
    global _pipe
    _pipe = pipe


def watch() -> int:
    """A file descriptor that can be read when there may be something to forward."""
    global _wake
    if _wake is None:
        _wake = os.pipe()
    return _wake[0]


def forward(pipe: int) -> None:
    """In the parent of such a child: hand on what has arrived. A child that has ended needs nothing."""
    if _wake and select.select([_wake[0]], [], [], 0)[0]:
        os.read(_wake[0], 4096)
    while not _arrived.empty():
        reply = _arrived.get()
        line = json.dumps(reply).encode() + b"\n"
        try:
            while line:
                line = line[os.write(pipe, line) :]
        except OSError:
            return


def _from_pipe(pipe: int) -> dict[str, Any] | None:
    global _rest
    pieces = [_rest]
    while b"\n" not in pieces[-1]:
        select.select([pipe], [], [])
        data = os.read(pipe, 1 << 20)
        if not data:
            return None
        pieces.append(data)
    line, _, _rest = b"".join(pieces).partition(b"\n")
    reply: dict[str, Any] | None = json.loads(line)
    return reply
