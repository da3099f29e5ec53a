"""This machine as a host: the same agent, started without SSH."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from mlflow_provision.agent.protocol import Event
from mlflow_provision.host import refusals
from mlflow_provision.host.ask import NOBODY, Ask
from mlflow_provision.host.exchange import Conversation
from mlflow_provision.host.process import Process, Streams
from mlflow_provision.host.program import AGENT, BOOTSTRAP, PYTHON_FLAGS
from mlflow_provision.host.replies import Reply
from mlflow_provision.host.sudo import WITH_PASSWORD, WITHOUT_PASSWORD, Sudo
from mlflow_provision.host.where import Where

# What an agent that runs as this person may know of their session. All else stays here: an active venv, PYTHONPATH,
# and secrets such as AWS keys, which the server would inherit.
_KEPT = {
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "TMPDIR", "TZ"),
    *("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
}


class LocalHost:
    """Scope "user": the agent runs as this person. Scope "system": as root, through sudo where we are not root."""

    def __init__(self, scope: str = "user", ask: Ask = NOBODY, agent: Path = AGENT) -> None:
        self.label = "this machine"
        self._where = Where(user=getpass.getuser())
        self._sudo = Sudo(self._where, ask)
        self._scope = scope
        self._through_sudo = scope == "system" and os.geteuid() != 0
        self._conversation = Conversation(self._start, self._where, self._sudo, agent)

    def request(self, verb: str, data: dict[str, Any], reply: Reply | None = None) -> Iterator[Event]:
        return self._conversation.request(verb, data, reply)

    def interrupt(self) -> None:
        self._conversation.interrupt()

    def close(self) -> None:
        self._conversation.close()

    def _start(self, with_password: bool) -> Process:
        return _spawn(self._command(with_password), self._where)

    def _command(self, with_password: bool) -> list[str]:
        bootstrap = [PYTHON_FLAGS, "-c", BOOTSTRAP]
        if self._through_sudo:
            return [*(WITH_PASSWORD if with_password else WITHOUT_PASSWORD), "python3", *bootstrap]
        return [_python(for_all=self._scope == "system"), *bootstrap]


def _python(for_all: bool) -> str:
    """The Python that runs the agent: our own, unless it is `for_all` users and lies where only we can read."""
    ours = sys.executable if os.access(sys.executable or "", os.X_OK) else "python3"
    if for_all and not all(folder.stat().st_mode & 0o001 for folder in Path(os.__file__).resolve().parents):
        return shutil.which("python3", path=os.defpath) or ours
    return ours


def _spawn(command: list[str], where: Where) -> Process:
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=clean_environment(os.environ),
            start_new_session=True,  # Ctrl-C is for us: the agent ends its step first
        )
    except FileNotFoundError:
        raise (refusals.no_sudo(where) if command[0] == "sudo" else refusals.no_python(where)) from None
    stdin, stdout, stderr = (cast(IO[bytes], stream) for stream in (child.stdin, child.stdout, child.stderr))
    return Process(
        Streams(
            read_output=_reader(stdout),
            read_errors=_reader(stderr),
            write=_writer(stdin),
            end_input=stdin.close,
            wait=child.wait,
            close=lambda: None,  # with its input closed it ends by itself, after its current step
            lost=lambda: False,
        )
    )


def _reader(stream: IO[bytes]) -> Callable[[], bytes]:
    def read() -> bytes:
        data = os.read(stream.fileno(), 65536)
        if not data:
            stream.close()
        return data

    return read


def _writer(stream: IO[bytes]) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(stream.fileno(), rest) :]

    return write


def clean_environment(environment: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """What is left of the environment for the agent."""
    kept = {
        name: value for name, value in environment.items() if name.upper() in _KEPT or name.startswith(("UV_", "LC_"))
    }
    venv = environment.get("VIRTUAL_ENV")
    if venv:
        folders = kept.get("PATH", os.defpath).split(os.pathsep)
        kept["PATH"] = os.pathsep.join(folder for folder in folders if not folder.startswith(venv + os.sep))
    kept.setdefault("PATH", os.defpath)
    return {**kept, "LC_ALL": "C"}
