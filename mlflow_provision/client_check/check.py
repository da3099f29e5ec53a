"""Starts the client in an environment with nothing of the operator's in it, and reads what it finds."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from mlflow_provision.agent.protocol import Event, decode
from mlflow_provision.errors import ProvisionError

_KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")
_LAST_WORDS = 1500


def environment(variables: Mapping[str, str], home: str) -> dict[str, str]:
    """Only what a program needs to run, and the three variables of the server: no cloud key can be in it."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "HOME": home,
        "TMPDIR": home,
        "MPLCONFIGDIR": home,
        "AWS_EC2_METADATA_DISABLED": "true",  # nor that of the instance this may be
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        **variables,
    }


def check(python: Path, variables: Mapping[str, str]) -> Iterator[Event]:
    """The events of `program`; raises ProvisionError if it ends before its end."""
    program = Path(__file__).with_name("program.py")
    with tempfile.TemporaryDirectory(prefix="mlflow-provision-") as home, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(python), "-I", str(program)],
            env=environment(variables, home),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        ended = False
        try:
            for line in process.stdout or ():
                event = line.strip()
                if event == '{"event": "done"}':
                    ended = True
                elif event:
                    yield decode(event)
            process.wait()
        finally:
            _end(process)
        if not ended:
            raise ProvisionError(
                f"the client ended with {process.returncode}: {_last_words(errors, variables)}",
                "see what is wrong with it: run the same command with --debug",
            )


def _end(process: subprocess.Popen[str]) -> None:
    """Let it clean up if we were interrupted: a Ctrl-C at the terminal reached it too."""
    try:
        process.wait(20 if process.poll() is None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _last_words(errors: IO[bytes], variables: Mapping[str, str]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - _LAST_WORDS))
    said = errors.read().decode("utf-8", "replace").strip()
    password = variables.get("MLFLOW_TRACKING_PASSWORD") or "\0"
    return said.replace(password, "********") or "it said nothing"
