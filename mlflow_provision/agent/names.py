"""Names by which the two halves recognise what is ours on a host."""

from __future__ import annotations

MARKER = ".mlflow-provision"  # a file in the root
BESIDE = ".mlflow-provision-new"  # ends the name of what is written beside a file and then renamed to it
# In a deployment's folder `backup` while a restore is half-way. The start script looks for it, too: a server that finds
# no databases would make empty ones.
GUARD = "restoring"
UPGRADING = "upgrading"  # beside it: the journal of an upgrade or a rollback that goes on, or was interrupted
SIGNATURE = "Managed by mlflow-provision"  # in the first line of every file we write
