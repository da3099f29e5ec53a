"""The real agent, with one more verb: `copy` puts and gets an object of the operator's folder, as any user."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlflow_provision.host.program import AGENT

_VERB = """

def _serve(verb, data, operator):
    import hashlib, os, re, time
    from mlflow_provision.agent.as_user import as_user
    from mlflow_provision.agent.backup.settings import Place
    from mlflow_provision.agent.backup.stores import open_store
    from mlflow_provision.agent.protocol import Start

    def peak():
        return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])

    def copy():
        store = open_store(Place(data["destination"]), "server", "", _emit, _stop.is_set)
        piece = bytes(range(256)) * 1024
        sums = [hashlib.sha256(), hashlib.sha256()]
        with store.put("id/part") as writer:
            _emit(Start("put", f"put by {os.getuid()} {os.getpid()}"))
            for _ in range(data["pieces"]):
                writer.write(piece)
                sums[0].update(piece)
                time.sleep(data.get("pause", 0))
                if _stop.is_set():
                    raise AgentError("stopped", kind="interrupted")
        store.get("id/part", sums[1].update)
        same = sums[0].hexdigest() == sums[1].hexdigest()
        return {"same": same, "uid": os.getuid(), "peak": peak()}

    answer = as_user(data["user"], copy, _stop.is_set)
    return {**answer, "parent_peak": peak()}
"""


def asking_agent(folder: Path) -> Path:
    """The folder of its package, which every `Host` can be told to use."""
    package = folder / "agent"
    shutil.copytree(AGENT, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "main.py").open("a") as main:
        main.write(_VERB)
    return package
