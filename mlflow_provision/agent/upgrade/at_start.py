"""What systemd runs before the server starts while there is a drop-in (see `drop_in`): as root, without an operator."""

from __future__ import annotations

import contextlib
import os
import sys

from mlflow_provision.agent.databases.journal import Journal
from mlflow_provision.agent.protocol import AgentError, in_words
from mlflow_provision.agent.upgrade import drop_in, undo
from mlflow_provision.agent.upgrade.journal import MAY_START, holding, journal_in

_CLONE_NEWNS = 0x00020000  # include/uapi/linux/sched.h


def main() -> None:
    """Go back from an upgrade that nobody works on any more. Exit code 0: the server may start."""
    os.umask(0o022)
    _see_as_the_host_does()
    sys.exit(allowed(*sys.argv[2:]))


def allowed(folder: str, called_by: str = "") -> int:
    """0 when the server may start with what is there now, else 1. `called_by`: the drop-in."""
    journal = journal_in(folder)
    if not journal.read():
        _forget(journal, called_by)
        return 0
    try:
        with holding(journal):
            print("An upgrade was interrupted: going back to what was here before.", flush=True)
            undo.by("the start of the server", folder, starts=False)
            return 0
    except (AgentError, OSError) as error:
        if isinstance(error, AgentError) and error.kind == "locked":
            # Somebody is at work, and starts the server when its time has come. Another start shall try again.
            return 0 if journal.phase in MAY_START else 1
        print(error.message if isinstance(error, AgentError) else in_words(error), file=sys.stderr, flush=True)
        return 1


def _forget(journal: Journal, path: str) -> None:
    """The upgrade ended before its journal began: nothing else will remove its drop-in."""
    with contextlib.suppress(AgentError, OSError), holding(journal):
        if not journal.read():
            drop_in.remove(path)


def _see_as_the_host_does() -> None:
    """Leave the service's own view of the disk: even for `+` commands each of its writable folders is a mount of its
    own, and nothing can be renamed from one to another."""
    import ctypes

    try:
        with open("/proc/1/ns/mnt", "rb") as view:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(view.fileno(), _CLONE_NEWNS) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except OSError as error:  # what needed it says so itself
        print(f"cannot see the disk as the host does: {in_words(error)}", file=sys.stderr, flush=True)
