"""An agent that behaves well or badly, as the request asks for."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_stop = threading.Event()


def say(event: str, **data: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **data}) + "\n")
    sys.stdout.flush()


def done(data: dict[str, Any], error: dict[str, str] | None = None) -> None:
    say("done", data=data, error=error, seconds=0.0)


def echo(data: dict[str, Any]) -> None:
    done(data)


def where(data: dict[str, Any]) -> None:
    """What the host's side looks like from inside."""
    done(
        {
            "uid": os.getuid(),
            "folder": str(Path.cwd()),
            "path": sys.path,
            "environment": dict(os.environ),
            "session": os.getsid(0) == os.getpid(),
            "arguments": Path("/proc/self/cmdline").read_text(),
        }
    )


def steps(data: dict[str, Any]) -> None:
    """Steps of some seconds, until all are done or the operator asks to stop."""
    if "pid_file" in data:
        Path(data["pid_file"]).write_text(str(os.getpid()))
    for number in range(data["steps"]):
        say("start", step=str(number), title=f"step {number}")
        time.sleep(data["seconds"])
        say("result", step=str(number), title=f"step {number}", verdict="ok")
        if _stop.is_set():
            done({"steps": number + 1}, {"message": f"stopped after {number + 1}", "hint": "", "kind": "interrupted"})
            return
    done({"steps": data["steps"]})


def flood(data: dict[str, Any]) -> None:
    for _ in range(data["lines"]):
        say("output", step="0", line="x" * 1000)
    sys.stderr.write("y" * data["stderr"])
    done({"received": len(data.get("blob", ""))})


def noise(data: dict[str, Any]) -> None:
    print("a stray print\n{not json\n[1]\n{}")
    print('{"event": "unknown"}\n{"event": "start", "unexpected": 1}')
    done({})


def crash(data: dict[str, Any]) -> None:
    say("start", step="0", title="the fatal step")
    raise RuntimeError("it broke")


def incomplete(data: dict[str, Any]) -> None:
    raise ModuleNotFoundError("No module named 'sqlite3'")


def killed(data: dict[str, Any]) -> None:
    say("start", step="0", title="the fatal step")
    os.kill(os.getpid(), signal.SIGKILL)


def silent(data: dict[str, Any]) -> None:
    sys.exit(0)


def fail(data: dict[str, Any]) -> None:
    done({}, {"message": "it failed", "hint": "do that", "kind": data["kind"]})


VERBS: dict[str, Callable[[dict[str, Any]], None]] = {
    function.__name__: function
    for function in (echo, where, steps, flood, noise, crash, incomplete, killed, silent, fail)
}


def main(request: dict[str, Any]) -> int:
    threading.Thread(target=_watch_stdin, daemon=True).start()
    VERBS[request["verb"]](request["data"])
    return 0


def _watch_stdin() -> None:
    while os.read(0, 4096):
        pass
    _stop.set()
