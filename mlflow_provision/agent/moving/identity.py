"""Whose rights count when a thread opens files: root's, or those of the service user (setfsuid(2)).

What is read for a server is read with its rights unless a person says otherwise: the places come from a database that
its users write to, and a place like /root must not become an artifact. What is written is written with its rights, too:
the folders are its own, and could be links by now.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
from typing import Iterator

from mlflow_provision.agent.protocol import AgentError

_ASK = 0xFFFFFFFF  # an id that nobody has: the call changes nothing, and tells the present one


@contextlib.contextmanager
def files_of(user: str) -> Iterator[None]:
    """Within the block this thread has the rights of `user` to files; "" means our own. Blocks may be nested."""
    if os.geteuid() != 0:
        yield
        return
    account = pwd.getpwnam(user) if user else None
    uid, gid = (account.pw_uid, account.pw_gid) if account else (0, 0)
    libc = ctypes.CDLL(None)
    before = _present(libc)
    try:
        _become(libc, uid, gid)
        if _present(libc) != (uid, gid):
            raise AgentError(f"the system does not let us work with the rights of {user or 'root'}")
        yield
    finally:
        _become(libc, *before)


def _present(libc: ctypes.CDLL) -> tuple[int, int]:
    nobody = ctypes.c_uint(_ASK)
    return libc.setfsuid(nobody), libc.setfsgid(nobody)


def _become(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    # Root's rights first: the group can be changed with them only.
    libc.setfsuid(0)
    libc.setfsgid(gid)
    libc.setfsuid(uid)
