"""Timing of programs. Two that are compared take turns, so that a busy minute of the machine hits both."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence

# A program that may not write bytecode compiles itself anew at every start; that is not what people run.
_NOT_INHERITED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")


def run(argv: Sequence[str], environment: Mapping[str, str] | None = None, input: str = "") -> tuple[float, str]:
    """Seconds and output of a program that must succeed."""
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    began = time.perf_counter()
    finished = subprocess.run(
        argv, input=input, env={**inherited, **(environment or {})}, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    if finished.returncode:
        said = (finished.stdout + finished.stderr)[-4000:]
        raise RuntimeError(f"{' '.join(argv)[:200]} ended with {finished.returncode}:\n{said}")
    return seconds, finished.stdout


def alternate(
    ours: Sequence[str], reference: Sequence[str], times: int, environment: Mapping[str, str] | None = None
) -> tuple[float, float]:
    """The medians of both, after one run of each that does not count."""
    run(ours, environment)
    run(reference, environment)
    pairs = [(run(ours, environment)[0], run(reference, environment)[0]) for _ in range(times)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)
