"""The trial from its first check to its last."""

from __future__ import annotations

import os
import sys

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
        checks.run("client-clean-up", "client takes away what it made", lambda: remove(work.name), ["client-start"])
    except KeyboardInterrupt:
        return 130
    url = os.environ["MLFLOW_TRACKING_URI"]
    checks.run("client-alone", "client spoke to the server alone", lambda: connections.only_to(url), ["client-start"])
    checks.done()
    return code


def _try_out(checks: Checks, work: Work) -> None:
    checks.run("client-no-key", "client holds no cloud key", holds_no_key)
    checks.run("client-start", "client starts", work.start)
    checks.run("client-train", "client trains and logs", work.train, ["client-start"])
    checks.run("client-read-back", "client reads back what it logged", work.read_back, ["client-train"])
    checks.run("client-figure", "client logs a figure", work.figure, ["client-train"])
    checks.run("client-model", "client logs a model", work.log_model, ["client-train"])
    checks.run("client-register", "client registers it, with an alias", work.register, ["client-model"])
    checks.run("client-search", "client finds the run", work.search, ["client-train"])
    checks.run("client-predict", "client loads it back and predicts", work.predict, ["client-register"])


if __name__ == "__main__":
    sys.exit(main())
