"""Do something as the service user, so that no file in its folders ever belongs to root."""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import traceback
from typing import Any, Callable

from mlflow_provision.agent.protocol import AgentError

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_LOOK = 0.2  # seconds between two looks at whether to stop


def as_user(user: str, action: Callable[[], Any], stopping: Callable[[], bool] = lambda: False) -> Any:
    """The JSON-serialisable answer of `action`, run in a child process as `user` ("" or not root: as ourselves).

    The child may emit events and ask the operator's side; it gets SIGTERM when `stopping` says so, and dies with us.
    """
    if not user or os.geteuid() != 0:
        return action()
    account = pwd.getpwnam(user)
    read_end, write_end = os.pipe()
    replies_out, replies_in = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            os.close(replies_in)
            with os.fdopen(write_end, "w") as pipe:
                pipe.write(_answer(account, action, parent, replies_out))
        finally:
            os._exit(0)  # whatever happens: the child must never go on with the work of its parent
    os.close(write_end)
    os.close(replies_out)
    try:
        text = _answered(child, read_end, replies_in, stopping)
    finally:
        os.close(replies_in)
    os.waitpid(child, 0)
    if not text:
        raise AgentError(f"what ran as {user} was killed", "look for out of memory in: sudo dmesg")
    reply = json.loads(text)
    if "error" in reply:
        raise AgentError(*reply["error"])
    return reply["answer"]


def _answered(child: int, read_end: int, replies: int, stopping: Callable[[], bool]) -> str:
    from mlflow_provision.agent import operator_link

    told = False
    pieces: list[bytes] = []
    with os.fdopen(read_end, "rb", buffering=0) as pipe:
        while True:
            operator_link.forward(replies)
            if stopping() and not told:
                os.kill(child, signal.SIGTERM)
                told = True
            if read_end in select.select([read_end, operator_link.watch()], [], [], _LOOK)[0]:
                piece = pipe.read(65536)
                if not piece:
                    return b"".join(pieces).decode()
                pieces.append(piece)


def _answer(account: pwd.struct_passwd, action: Callable[[], Any], parent: int, replies: int) -> str:
    import ctypes

    from mlflow_provision.agent import operator_link

    try:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        # After the change of user: the kernel forgets it then.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.umask(0o077)
        operator_link.replies_come_from(replies)
        return json.dumps({"answer": action()})
    except AgentError as error:
        return json.dumps({"error": [error.message, error.hint, error.kind]})
    except BaseException:
        return json.dumps({"error": [traceback.format_exc(limit=-1).strip().splitlines()[-1], "", "failed"]})
