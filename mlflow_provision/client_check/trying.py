"""Runs the trial as a process of its own and hands on what it tells."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from mlflow_provision.agent.protocol import Done, Event, decode
from mlflow_provision.client_check.interpreter import Interpreter
from mlflow_provision.client_check.surroundings import environment
from mlflow_provision.errors import ExitCode, ProvisionError

# Only to find the trial: our other modules must not be in the way of the packages it imports.
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from trial.main import main; del sys.path[0]; sys.exit(main())"
_TO_CLEAN_UP = 30.0  # seconds


def tried(interpreter: Interpreter, variables: Mapping[str, str]) -> Iterator[Event]:
    """Every check of the trial; `variables` are those of an MLflow client.

    Ctrl-C lets it clean up. Raises ProvisionError if it ended before its end.
    """
    with tempfile.TemporaryDirectory(prefix="mlflow-provision-client-") as folder, tempfile.TemporaryFile() as noise:
        home = Path(folder, "home")
        home.mkdir()
        process = subprocess.Popen(
            [interpreter.path, "-c", _PROGRAM, str(Path(__file__).parent)],
            env=environment(home, {**variables, "TMPDIR": folder}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # a Ctrl-C comes through us, once
        )
        try:
            yield from _followed(process)
        except (KeyboardInterrupt, GeneratorExit):
            _ended(process)
            raise
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            raise ProvisionError(*_why(noise, variables), ExitCode.FAILED)


def _followed(process: subprocess.Popen[str]) -> Iterator[Event]:
    for line in process.stdout or ():
        event = decode(line)
        yield event
        if isinstance(event, Done):
            process.wait()
            return
    process.wait()


def _ended(process: subprocess.Popen[str]) -> None:
    """Ask it to stop, and let it take away what it made."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_TO_CLEAN_UP)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()


def _why(noise: IO[bytes], variables: Mapping[str, str]) -> tuple[str, str]:
    """The last words of a trial that died."""
    noise.seek(0)
    text = noise.read().decode(errors="replace")
    if password := variables.get("MLFLOW_TRACKING_PASSWORD"):
        text = text.replace(password, "********")
    last = "\n".join(text.strip().splitlines()[-5:])
    return f"the MLflow client died:\n{last}", "try it by hand: mlflow-provision run NAME -- python"
