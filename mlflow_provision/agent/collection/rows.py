"""Takes rows out of the tracking database, by MLflow's own code, while the server runs.

One program of the server's release runs all the time: to import MLflow takes seconds. What it removes is asked for line
by line, and each line is answered when it is done.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
from types import TracebackType
from typing import Any, Callable

from mlflow_provision.agent.command import PR_SET_PDEATHSIG, SYSTEM_PATH
from mlflow_provision.agent.protocol import AgentError

_LOOK = 0.2  # seconds between two looks at whether to stop
_LAST_WORDS = 20  # lines of a program that ended by itself

# The store's own methods; MLflow 3.10 to 3.17 have them all. Where it would load all metrics of a run into memory,
# as it did until it had `_RUN_DELETE_CASCADE_MODELS`, they go before their run.
PROGRAM = """
import json, logging, os, sys, warnings
warnings.simplefilter("ignore")
logging.disable(logging.ERROR)
os.umask(0o077)
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
first = json.loads(sys.stdin.readline())
from mlflow.store.tracking.dbmodels import models
from mlflow.store.tracking import sqlalchemy_store
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
store = SqlAlchemyStore("sqlite:///" + first["tracking"], "mlflow-artifacts:/")

try:
    with store.ManagedSessionMaker(read_only=False):
        pass
    writing = {"read_only": False}
except TypeError:
    writing = {}

def session():
    return store.ManagedSessionMaker(**writing)

def deleted(model, key, id):
    with session() as s:
        row = s.query(model.lifecycle_stage).filter(key == id).first()
    return None if row is None else row[0] == "deleted"

def run(id):
    state = deleted(models.SqlRun, models.SqlRun.run_uuid, id)
    if state is None:
        return "gone"
    if not state:
        return "restored"
    if not hasattr(sqlalchemy_store, "_RUN_DELETE_CASCADE_MODELS"):
        with session() as s:
            for model in (models.SqlMetric, models.SqlLatestMetric, models.SqlParam, models.SqlTag):
                s.query(model).filter(model.run_uuid == id).delete(synchronize_session=False)
    store._hard_delete_run(id)
    return "done"

def model(id, whole):
    state = deleted(models.SqlLoggedModel, models.SqlLoggedModel.model_id, id)
    if state is None:
        return "gone"
    if not state and not (whole and gone_experiment(whole)):
        return "restored"
    store._hard_delete_logged_model(id)
    return "done"

def gone_experiment(id):
    return deleted(models.SqlExperiment, models.SqlExperiment.experiment_id, int(id))

def experiment(id):
    state = gone_experiment(id)
    if state is None:
        return "gone"
    if not state:
        return "restored"
    info = models.SqlTraceInfo
    while True:
        with session() as s:
            some = [row[0] for row in s.query(info.request_id).filter(info.experiment_id == int(id)).limit(500)]
            if not some:
                break
            s.query(info).filter(info.request_id.in_(some)).delete(synchronize_session=False)
    with session() as s:
        if s.query(models.SqlRun.run_uuid).filter(models.SqlRun.experiment_id == int(id)).first():
            return "used"
    store._hard_delete_experiment(str(id))
    return "done"

print(json.dumps({"ready": True}), file=answers)
for line in sys.stdin:
    wish = json.loads(line)
    try:
        if wish["kind"] == "run":
            said = run(wish["id"])
        elif wish["kind"] == "model":
            said = model(wish["id"], wish["experiment"])
        else:
            said = experiment(wish["id"])
        answer = {"said": said}
    except Exception as error:
        lines = str(error).strip().splitlines()
        answer = {"error": type(error).__name__ + (": " + lines[0] if lines else "")}
    print(json.dumps(answer), file=answers)
"""

DONE, GONE, RESTORED, USED = "done", "gone", "restored", "used"


class Rows:
    """The program, started at once and asked later. It dies with us."""

    def __init__(self, release: str, tracking: str, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        prctl = ctypes.CDLL(None).prctl
        self._process = subprocess.Popen(
            [f"{release}/bin/python", "-W", "ignore", "-c", PROGRAM],
            env={
                "PATH": SYSTEM_PATH,
                "LC_ALL": "C.UTF-8",
                "HOME": os.path.dirname(tracking),
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            cwd=os.path.dirname(tracking),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )
        self._ready = False
        self._pending = b""
        self._errors = b""
        self._tell({"tracking": tracking})

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        if kind is not None:
            self._process.terminate()  # what it is doing is one transaction, whole or not at all
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def wait(self) -> None:
        """Until it can remove something. Raises AgentError if that will never be: then nothing should be touched."""
        if not self._ready:
            self._answer()
            self._ready = True

    def remove(self, kind: str, id: str, experiment: str = "") -> str:
        """Remove one; the answer is DONE, GONE (it was not there), RESTORED (it is not deleted any more) or USED.

        Raises AgentError of kind "row" when MLflow could not, and others when nothing can be removed at all.
        `experiment` is the deleted one that a model goes with, though it is not deleted itself.
        """
        self.wait()
        self._tell({"kind": kind, "id": id, "experiment": experiment})
        answer = self._answer()
        if "error" in answer:
            raise AgentError(str(answer["error"]), kind="row")
        return str(answer["said"])

    def _tell(self, wish: dict[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None and self._process.stderr is not None  # noqa: S101 - both are pipes
        out, errors = self._process.stdout.fileno(), self._process.stderr.fileno()
        watched = [out, errors]
        while b"\n" not in self._pending:
            if self._stopping():
                raise AgentError("stopped on request", kind="interrupted")
            for descriptor in select.select(watched, [], [], _LOOK)[0]:
                piece = os.read(descriptor, 1 << 16)
                if descriptor == errors:
                    self._errors = (self._errors + piece)[-(1 << 16) :]
                    if not piece:
                        watched = [out]
                elif piece:
                    self._pending += piece
                else:
                    raise self._ended()
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> AgentError:
        with contextlib.suppress(OSError, ValueError):
            if self._process.stderr:
                self._errors += self._process.stderr.read() or b""
        said = self._errors.decode("utf-8", "replace").strip().splitlines()[-_LAST_WORDS:]
        why = said[-1] if said else f"exit code {self._process.wait()}"
        if "db upgrade" in "\n".join(said):
            why = "the database's schema is not the one of this MLflow"
        return AgentError(
            f"MLflow's own code could not open the tracking database: {why}",
            "see whether the server runs: mlflow-provision status NAME",
        )
