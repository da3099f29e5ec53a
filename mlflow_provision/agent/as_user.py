"""Do something as the service user, so that no file in its folders ever belongs to root."""

from __future__ import annotations

import json
import os
import pwd
import traceback
from typing import Any, Callable

from mlflow_provision.agent.protocol import AgentError


def as_user(user: str, action: Callable[[], Any]) -> Any:
    """The JSON-serialisable answer of `action`, run in a child process as `user` ("" or not root: as ourselves)."""
    if not user or os.geteuid() != 0:
        return action()
    account = pwd.getpwnam(user)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            with os.fdopen(write_end, "w") as pipe:
                pipe.write(_answer(account, action))
        finally:
            os._exit(0)  # whatever happens: the child must never go on with the work of its parent
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise AgentError(f"what ran as {user} was killed", "look for out of memory in: sudo dmesg")
    reply = json.loads(text)
    if "error" in reply:
        raise AgentError(*reply["error"])
    return reply["answer"]


def _answer(account: pwd.struct_passwd, action: Callable[[], Any]) -> str:
    try:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
        os.umask(0o077)
        return json.dumps({"answer": action()})
    except AgentError as error:
        return json.dumps({"error": [error.message, error.hint, error.kind]})
    except BaseException:
        return json.dumps({"error": [traceback.format_exc(limit=-1).strip().splitlines()[-1], "", "failed"]})
