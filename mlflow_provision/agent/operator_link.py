"""Questions from the agent to the operator's side in the middle of a request, and the replies that come back."""

from __future__ import annotations

import itertools
import json
import os
import queue
import select
import threading
from typing import Any, Callable, Dict, Optional

from mlflow_provision.agent.protocol import AgentError, Ask, Event

_PIECE = 1 << 20

Reply = Optional[Dict[str, Any]]  # as it came; None: nobody is there any more
_numbers = itertools.count(1)
_waiting: dict[str, queue.SimpleQueue[Reply]] = {}  # who asked, by the id of the question
_others: queue.SimpleQueue[Reply] = queue.SimpleQueue()  # replies to nobody here: to a child of ours
_wake: tuple[int, int] | None = None  # a pipe: something to select on until one of those arrives
_gone = False
_pipe: int | None = None  # in a child: its parent reads stdin, and forwards what is not its own


def ask(emit: Callable[[Event], None], call: str, **arguments: Any) -> dict[str, Any]:
    """What the operator's side answers. Raises AgentError: its own, or of kind "interrupted" when it has gone."""
    return post(emit, call, **arguments)()


def post(emit: Callable[[Event], None], call: str, **arguments: Any) -> Callable[[], dict[str, Any]]:
    """Ask without waiting: what is returned waits. Several questions under way hide how far away the operator is."""
    _listen_to_parent()
    id = f"{os.getpid()}.{next(_numbers)}"
    box = _waiting[id] = queue.SimpleQueue()
    if _gone:  # looked at after we stand in the list: who goes now finds us there
        box.put(None)
    emit(Ask(call, arguments, id))

    def reply() -> dict[str, Any]:
        message = box.get()
        _waiting.pop(id, None)
        if message is None:
            raise AgentError("the operator's side has gone", kind="interrupted")
        if message.get("error"):
            raise AgentError(*message["error"])
        answer: dict[str, Any] = message["reply"]
        return answer

    return reply


def arrived(reply: dict[str, Any] | None) -> None:
    """A reply has come in; None: nobody is there any more."""
    global _gone
    if reply is None:
        _gone = True
        for box in [*_waiting.values()]:
            box.put(None)
    elif reply.get("id") in _waiting:
        _waiting[reply["id"]].put(reply)
        return
    _others.put(reply)
    if _wake:
        os.write(_wake[1], b".")


def replies_come_from(pipe: int) -> None:
    """From now on this process, a child, reads what its parent forwards."""
    global _pipe, _waiting, _others, _wake
    _pipe, _waiting, _others, _wake = pipe, {}, queue.SimpleQueue(), None


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
    while not _others.empty():
        line = memoryview(json.dumps(_others.get()).encode() + b"\n")
        try:
            while line:
                line = line[os.write(pipe, line) :]
        except OSError:
            return


def _listen_to_parent() -> None:
    """In a child, once it asks: a thread of its own, so that its parent never waits until we want a reply."""
    global _pipe
    if _pipe is not None:
        threading.Thread(target=_read, args=(_pipe,), daemon=True).start()
        _pipe = None


def _read(pipe: int) -> None:
    rest = bytearray()
    while data := os.read(pipe, _PIECE):
        rest += data
        if b"\n" in data:
            *lines, rest = rest.split(b"\n")
            for line in lines:
                arrived(json.loads(line))
    arrived(None)
