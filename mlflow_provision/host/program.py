"""The program that travels: the agent as a zip made in memory, and the one-liner that starts it on the host."""

from __future__ import annotations

import functools
import getpass
import io
import json
import os
import socket
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Any

from mlflow_provision.agent.protocol import PREAMBLE

AGENT = Path(__file__).resolve().parent.parent / "agent"
NAME_IN_ZIP = "mlflow_provision/agent"

# Written by the bootstrap when it runs, and so after whatever a login shell or sudo had to say.
READY = f"{PREAMBLE} READY"

_SQUEEZING = threading.Lock()

# What only the bootstrap can find out: kinds of its `done` event's error, whose message is version and platform.
OLD_PYTHON = "old-python"
NOT_LINUX = "not-linux"

# No bytecode is left on the host; neither the environment, nor the person's packages, nor the folder we are in (see
# BOOTSTRAP's first words) can change which modules root imports; what is printed is sent at once.
PYTHON_FLAGS = "-BEsSu"

# One argument for every login shell, csh and fish included: no single quote, backslash, exclamation mark or line break.
# Any Python from 2.7 on can parse it, so that an old one says what is wrong instead of "invalid syntax".
# It reads with the buffer of sys.stdin: what follows the request are signs of life, and one may be swallowed.
BOOTSTRAP = "; ".join(
    (
        "import sys",
        "sys.path = [folder for folder in sys.path if folder]",
        "import os, json",
        "say = lambda line: (sys.stdout.write(line + chr(10)), sys.stdout.flush())",
        f'say(chr(10) + "{READY}")',
        'found = sys.version.split()[0] + " " + sys.platform',
        f'kind = "{OLD_PYTHON}" if sys.version_info < (3, 9) else "" if "linux" in found else "{NOT_LINUX}"',
        'done = dict(event="done", data=dict(), error=dict(message=found, hint="", kind=kind), seconds=0)',
        "kind and sys.exit(say(json.dumps(done)) and 1)",
        'os.chdir("/")',
        "stdin = sys.stdin.buffer",
        f'sizes = next(line for line in iter(stdin.readline, b"") if line.startswith(b"{PREAMBLE} ")).split()[1:]',
        'program = __import__("zlib").decompress(stdin.read(int(sizes[0])))',
        "request = stdin.read(int(sizes[1]))",
        # Pythons built for old systems, as conda's, know no memfd; a temporary file has no name either.
        'file = None if hasattr(os, "memfd_create") else __import__("tempfile").TemporaryFile()',
        'memory = file.fileno() if file else os.memfd_create("mlflow-provision")',
        "os.write(memory, program)",
        'sys.path.insert(0, "/proc/self/fd/" + str(memory))',
        "from mlflow_provision.agent.main import main",
        "code = main(json.loads(request.decode()))",
        "sys.stdout.flush()",
        "os._exit(code or 0)",
    )
)


@functools.cache
def pack(package: Path = AGENT) -> bytes:
    """The zip of the agent package. The same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "mlflow_provision/__init__.py", b"")
        for path in sorted(package.rglob("*.py")):
            _add(archive, f"{NAME_IN_ZIP}/{path.relative_to(package).as_posix()}", path.read_bytes())
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name), content)


def squeezed(package: Path) -> bytes:
    """The zip as it is sent: compressed as a whole it is a third smaller than with each file by itself."""
    with _SQUEEZING:  # who comes while it is made waits, instead of making it too
        return _squeezed(package)


def squeeze_meanwhile(package: Path) -> None:
    """Begin it in the background: it takes 0.08 s, as long as a connection needs to be made."""
    threading.Thread(target=squeezed, args=(package,), daemon=True).start()


@functools.cache
def _squeezed(package: Path) -> bytes:
    return zlib.compress(pack(package))


def payload(verb: str, data: dict[str, Any], package: Path = AGENT) -> bytes:
    """All that the bootstrap reads from its stdin."""
    program, request = squeezed(package), _request(verb, data)
    return f"{PREAMBLE} {len(program)} {len(request)}\n".encode() + program + request


def again(verb: str, data: dict[str, Any]) -> bytes:
    """A further request to an agent that has answered one: a line of JSON."""
    return _request(verb, data) + b"\n"


def _request(verb: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"verb": verb, "data": data, "operator": operator()}).encode()


def operator() -> str:
    """Who we are, for the host's lock and records."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user id without a name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
