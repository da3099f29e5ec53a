"""`mlflow-provision --help` against the least that any click program costs."""

from __future__ import annotations

import sys

from benchmarks.clock import alternate, run
from benchmarks.report import Comparison
from benchmarks.tool import program

HEAVY = ("boto3", "botocore", "paramiko", "fabric", "questionary")

LOADED_BY_HELP = f"""
import sys
from mlflow_provision.cli import main
sys.argv = ["mlflow-provision", "--help"]
try:
    main()
except SystemExit:
    pass
print("LOADED", *[name for name in {HEAVY!r} if name in sys.modules])
"""


def measure(times: int) -> Comparison:
    ours, reference = alternate([*program(), "--help"], [sys.executable, "-c", "import click"], times)
    loaded = run([sys.executable, "-c", LOADED_BY_HELP])[1].rpartition("LOADED")[2].split()
    if loaded:
        raise RuntimeError(f"--help imports {', '.join(loaded)}")
    return Comparison(
        "help",
        'mlflow-provision --help against python -c "import click"',
        ours * 1000,
        reference * 1000,
        "ms",
        target=2,
        detail=f"median of {times}; imports none of {', '.join(HEAVY)}",
    )
