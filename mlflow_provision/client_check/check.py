"""Starts the client in an environment with nothing of the operator's in it, and reads what it finds."""

from __future__ import annotations

import os
import signal
import site
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO

from mlflow_provision.agent.protocol import Event, decode
from mlflow_provision.errors import ProvisionError

_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
# Only to find the trial: our other modules must not be in the way of the packages it imports.
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from trial.main import main; del sys.path[0]; sys.exit(main())"
_TO_CLEAN_UP = 30.0  # seconds
_LAST_WORDS = 1500


def environment(variables: Mapping[str, str], home: str) -> dict[str, str]:
    """Only what a program needs to run, and the three variables of the server: no cloud key can be in it."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "HOME": home,
        "PYTHONUSERBASE": site.getuserbase(),  # packages of `pip install --user` are below the real home
        "TMPDIR": home,
        "MPLCONFIGDIR": home,
        "AWS_EC2_METADATA_DISABLED": "true",  # nor that of the instance this may be
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        **variables,
    }


def check(python: Path, variables: Mapping[str, str]) -> Generator[Event, None, None]:
    """The events of the trial; raises ProvisionError if it ends before its end. Ctrl-C lets it clean up."""
    with tempfile.TemporaryDirectory(prefix="mlflow-provision-") as home, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [str(python), "-c", _PROGRAM, str(Path(__file__).parent)],
            env=environment(variables, home),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # a Ctrl-C comes through us, once
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
        except (KeyboardInterrupt, GeneratorExit):
            process.send_signal(signal.SIGINT)
            raise
        finally:
            _end(process)
        if not ended:
            raise ProvisionError(
                f"the client ended with {process.returncode}: {_last_words(errors, variables)}",
                "see what is wrong with it: run the same command with --debug",
            )


def _end(process: subprocess.Popen[str]) -> None:
    """Let it clean up if we were interrupted; nobody reads what it says of that."""
    if process.stdout:
        process.stdout.close()
    try:
        process.wait(_TO_CLEAN_UP)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _last_words(errors: IO[bytes], variables: Mapping[str, str]) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - _LAST_WORDS))
    said = errors.read().decode("utf-8", "replace").strip()
    password = variables.get("MLFLOW_TRACKING_PASSWORD") or "\0"
    return said.replace(password, "********") or "it said nothing"
