"""Taking over a server that a shell script made: finding it, reading it, moving its data, and giving it back."""

from __future__ import annotations

import glob
import json
import os
from typing import Any

from mlflow_provision.agent.names import SIGNATURE

UNITS = "/etc/systemd/system"
TREES = ("/home/*/mlflow-server", "/root/mlflow-server")
FOLDER = "adopted"  # below a deployment's own: journal, backups, what a failed adoption left
JOURNAL = "adoption.json"

# Phases of an adoption, in order. Until STOPPING nothing of the old server has been touched; from STARTING on others
# may have written to ours. ADOPTED: an ordinary deployment from then on. UNFINISHED: must not stay like that.
STOPPING, MOVING, STARTING, ADOPTED = "stopping", "moving", "starting", "adopted"
ROLLING_BACK, ROLLED_BACK = "rolling-back", "rolled-back"
UNFINISHED = (STOPPING, MOVING, STARTING, ROLLING_BACK)


def known(base: str, ours: bool) -> dict[str, Any]:
    """Facts for every request in system scope, found with a look at a few paths.

    `old_server`: the server that could be adopted, or one whose adoption was interrupted (see `find.py`); None when
    there is none, or `ours` says that our own unit is there. `adoption`: its phase, "" when there was none.
    """
    journal = load(f"{base}/{FOLDER}/{JOURNAL}")
    phase = str(journal.get("phase", ""))
    if phase in UNFINISHED:
        return {"old_server": journal["old"], "adoption": phase}
    if ours:
        return {"old_server": None, "adoption": phase}
    units = [path for path in sorted(glob.glob(f"{UNITS}/*.service")) if _starts_mlflow(path)]
    trees = [path for pattern in TREES for path in sorted(glob.glob(pattern)) if _is_tree(path)]
    trees = [path for path in trees if path not in _adopted(os.path.dirname(base))]
    if not units and not trees:
        return {"old_server": None, "adoption": phase}
    # Imported late, like all that only some hosts need: the agent is compiled anew on every request.
    from mlflow_provision.agent.adoption.find import find

    return {"old_server": find(units, trees), "adoption": phase}


def load(journal: str) -> dict[str, Any]:
    """The journal of an adoption; {} when there is none that can be read."""
    try:
        with open(journal, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) and isinstance(data.get("old"), dict) else {}


def _starts_mlflow(path: str) -> bool:
    """Is this a unit of somebody else's MLflow?"""
    try:
        if os.path.islink(path) or not os.path.isfile(path):
            return False
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 16)
    except OSError:
        return False
    return "mlflow" in text.lower() and SIGNATURE not in text


def _is_tree(path: str) -> bool:
    return any(os.path.isfile(f"{path}/{name}") for name in ("mlflow.db", "start_mlflow_server.sh"))


def _adopted(root: str) -> set[str]:
    """The trees that were adopted by a deployment on this host."""
    journals = [load(path) for path in glob.glob(f"{glob.escape(root)}/*/{FOLDER}/{JOURNAL}")]
    return {str(journal["old"].get("tree")) for journal in journals if journal.get("phase") == ADOPTED}
