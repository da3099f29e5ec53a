"""Run a program on this machine; when it fails, the error says what the program said."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

Finished = subprocess.CompletedProcess[str]


class LabError(RuntimeError):
    """The lab could not do what was asked."""


class ProgramFailed(subprocess.CalledProcessError):
    """A `CalledProcessError` that shows what was printed."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stdout or ''}{self.stderr or ''}".rstrip()


def run(
    argv: Sequence[str],
    *,
    check: bool = True,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run and capture. Without input, stdin is empty: nothing may eat the terminal's."""
    finished = subprocess.run(
        list(argv),
        input=input if input is not None else "",
        capture_output=True,
        text=True,
        env=env,
        timeout=timeout,
        pass_fds=pass_fds,
    )
    if check and finished.returncode:
        raise ProgramFailed(finished.returncode, finished.args, finished.stdout, finished.stderr)
    return finished
