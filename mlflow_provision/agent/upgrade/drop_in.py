"""While an upgrade is in its dangerous part: before the server starts, whoever starts it, an upgrade that nobody works
on any more is undone. A host that lost its power comes back with the old server. System scope only."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from mlflow_provision.agent import command
from mlflow_provision.agent.names import SIGNATURE
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.file import replace
from mlflow_provision.agent.resources.installed_agent import InstalledAgent

AGENT = "upgrade-agent.zip"  # in the folder of the journal; it stays, for a systemd that has not forgotten the drop-in
_NAME = "upgrade.conf"
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); import mlflow_provision.agent.upgrade.at_start as at; at.main()"
)
# `+`: as root, and outside of what the service is shut into. All paths are free of blanks and specials.
_TEXT = """# {signature}: only while an upgrade is under way.
[Service]
ExecStartPre=+{python} -BEsSu -c "{program}" {agent} {folder} {drop_in}
"""


def path(units: str, unit: str) -> str:
    """Where the drop-in of a unit is; "" in user scope."""
    return f"{units}/{unit}.d/{_NAME}" if unit else ""


def install(drop_in: str, folder: str) -> None:
    """From now on the server starts only as the journal in `folder` allows."""
    if not drop_in:
        return
    agent = InstalledAgent("upgrade-agent", f"{folder}/{AGENT}")
    if agent.check(Context()):
        agent.apply(Context())
    os.makedirs(os.path.dirname(drop_in), mode=0o755, exist_ok=True)
    values = {"signature": SIGNATURE, "python": sys.executable, "program": _PROGRAM}
    replace(drop_in, _TEXT.format(agent=agent.path, folder=folder, drop_in=drop_in, **values), 0o644)
    reload(drop_in)


def remove(drop_in: str) -> None:
    """The server starts as ever again; systemd reads all its unit files anew."""
    if not drop_in:
        return
    Path(drop_in).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody else may have something there
        os.rmdir(os.path.dirname(drop_in))
    with contextlib.suppress(AgentError, OSError):  # one that systemd has not forgotten finds no journal
        reload(drop_in)


def reload(drop_in: str) -> None:
    """Let systemd read what has changed."""
    if drop_in:
        command.run(["systemctl", "daemon-reload"])
