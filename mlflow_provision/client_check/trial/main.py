"""The trial from its first check to its last."""

from __future__ import annotations

import os

from .alone import Connections, holds_no_key
from .removal import remove
from .telling import Checks
from .work import Work


def main() -> int:
    """Tell of every check on stdout; all that others print goes to stderr. 130 if it was interrupted."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    checks = Checks(stream, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    connections = Connections()
    work = Work()
    code = 0
    try:
        _try_out(checks, work)
    except KeyboardInterrupt:
        code = 130
    try:
        checks.run("clean", "takes away what it made", lambda: remove(work.name), ["client"])
    except KeyboardInterrupt:
        return 130
    url = os.environ["MLFLOW_TRACKING_URI"]
    checks.run("alone", "has spoken to the server alone", lambda: connections.only_to(url), ["client"])
    checks.done()
    return code


def _try_out(checks: Checks, work: Work) -> None:
    checks.run("no-key", "holds no cloud key", holds_no_key)
    checks.run("client", "is the real client", work.start)
    checks.run("train", "trains a model and logs parameters and metrics", work.train, ["client"])
    checks.run("read-back", "reads them back", work.read_back, ["train"])
    checks.run("figure", "logs a figure and gets it back", work.figure, ["train"])
    checks.run("model", "logs the model", work.log_model, ["train"])
    checks.run("register", "registers it and sets an alias", work.register, ["model"])
    checks.run("search", "finds the run by a search", work.search, ["train"])
    checks.run("predict", "loads the model back and predicts", work.predict, ["register"])
