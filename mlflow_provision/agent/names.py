"""Names by which the two halves recognise what is ours on a host."""

from __future__ import annotations

MARKER = ".mlflow-provision"  # a file in the root
BESIDE = ".mlflow-provision-new"  # ends the name of what is written beside a file and then renamed to it
SIGNATURE = "Managed by mlflow-provision"  # in the first line of every file we write
