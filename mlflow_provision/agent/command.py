"""Programs the agent starts: always an argument list, never a shell; output streams back line by line."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
from pathlib import Path
from typing import Callable, Iterator

from mlflow_provision.agent.protocol import AgentError

READY = "READY"  # a line by which a program says that it waits for its stdin
PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
# sudo resets the environment; fixed here too, so that nothing depends on how we were started.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandFailed(AgentError):
    """A program ended with an exit code other than 0. `lines` is what it printed."""

    def __init__(self, argv: list[str], code: int, lines: list[str]) -> None:
        tail = "\n".join(lines[-15:])
        super().__init__(
            "`{}` ended with exit code {}{}".format(" ".join(argv[:3]), code, ":\n" + tail if tail else "")
        )
        self.code = code
        self.lines = lines


def capture(argv: list[str], timeout: float = 30.0) -> str:
    """What a quick program prints; "" when it does not exist, fails or takes too long."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def run(
    argv: list[str],
    *,
    env: dict[str, str] | None = None,
    stdin: str = "",
    output: Callable[[str], None] = lambda line: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Run a program to its end and return its lines (stdout and stderr together).

    It is ended when the operator asks to stop, and dies with us: a repeated run must not meet it at work. Raises
    CommandFailed, or AgentError of kind "interrupted".
    """
    process = _started(argv, env)
    return _finished(process, argv, stdin, output, stopping)


@contextlib.contextmanager
def waiting(
    argv: list[str], env: dict[str, str], stopping: Callable[[], bool] = lambda: False
) -> Iterator[Callable[[str], list[str]]]:
    """The same in two halves: the program is started now, and says READY when it has nothing more to do without its
    stdin. What this gives takes that, and returns as `run` does. A program that gets none is ended."""
    process = _started(argv, env)
    try:
        lines = _read(process, lambda line: None, stopping, READY)
        if READY not in lines:
            raise CommandFailed(argv, process.wait(), lines)
        yield lambda stdin: _finished(process, argv, stdin, lambda line: None, stopping)
    finally:
        if process.poll() is None:
            _end(process)


def _started(argv: list[str], env: dict[str, str] | None) -> subprocess.Popen[bytes]:
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return subprocess.Popen(
        argv,
        env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )


def _finished(
    process: subprocess.Popen[bytes],
    argv: list[str],
    stdin: str,
    output: Callable[[str], None],
    stopping: Callable[[], bool],
) -> list[str]:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    try:
        process.stdin.write(stdin.encode())
        process.stdin.close()
    except BrokenPipeError:
        pass
    lines = _read(process, output, stopping)
    code = process.wait()
    if code != 0:
        raise CommandFailed(argv, code, lines)
    return lines


def _read(
    process: subprocess.Popen[bytes], output: Callable[[str], None], stopping: Callable[[], bool], until: str = ""
) -> list[str]:
    """The lines of a program up to its end, or to a line that reads `until`."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    lines: list[str] = []
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not (until and until in lines):
            if stopping():
                _end(process)
                raise AgentError(f"stopped while {_name(process)} was running", kind="interrupted")
            if not selector.select(timeout=0.2):
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            *complete, pending = (pending + chunk).split(b"\n")
            for raw in complete:
                line = raw.decode("utf-8", "replace").rstrip("\r")
                lines.append(line)
                output(line)
    if pending:
        lines.append(pending.decode("utf-8", "replace"))
    return lines


def _name(process: subprocess.Popen[bytes]) -> str:
    argv = process.args
    return Path(str(argv[0])).name if isinstance(argv, list) else str(argv)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, 15)
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
    except ProcessLookupError:
        process.wait()
