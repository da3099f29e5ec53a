"""Another user of a machine, who looks at its processes all the time and writes down what shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab import LabHost

USER = "nosudo"
_HOME = f"/home/{USER}"


@dataclass
class Seen:
    """Every argument list, and every environment that was open, once; and how often everything was looked at."""

    rounds: int = 0
    texts: set[str] = field(default_factory=set)

    @property
    def all(self) -> str:
        return "\n".join(sorted(self.texts))


def watch(stopped: Callable[[], bool], pause: float) -> Seen:
    """Look again and again, at what `ps` shows too."""
    seen = Seen()
    while not stopped():
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                seen.texts.update(_of_process(entry.path))
        if seen.rounds % 200 == 0:
            ps = subprocess.run(["ps", "auxwwe"], capture_output=True, check=False)
            seen.texts.update(ps.stdout.decode(errors="replace").splitlines())
        seen.rounds += 1
        time.sleep(pause)
    return seen


def _of_process(folder: str) -> Iterator[str]:
    for name in ("cmdline", "environ"):
        try:
            text = Path(folder, name).read_bytes()
        except OSError:
            continue
        yield name + " " + text.decode(errors="replace").replace("\0", " ")


@contextmanager
def spying(host: LabHost) -> Iterator[Seen]:
    """A user without rights watches the host within the block; what was seen is known after it."""
    host.path(f"{_HOME}/spy.py").write_text(Path(__file__).read_text())
    program = ["python3", f"{_HOME}/spy.py"]
    output = f"--property=StandardOutput=file:{_HOME}/seen.json"
    host.run(["systemd-run", "--quiet", "--unit=spy", f"--uid={USER}", output, *program])
    seen = Seen()
    try:
        yield seen
    finally:
        host.run(["systemctl", "stop", "spy"])
        found = json.loads(host.path(f"{_HOME}/seen.json").read_text())
        seen.rounds, seen.texts = found["rounds"], set(found["texts"])


@contextmanager
def spying_here() -> Iterator[Seen]:
    """The same on the operator's own machine; of the environments of others root would see more than anybody, so only
    argument lists count."""
    seen, stop = Seen(), threading.Event()

    def look() -> None:
        found = watch(stop.is_set, pause=0.05)
        seen.rounds = found.rounds
        seen.texts = {text for text in found.texts if text.startswith("cmdline")}

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    result = watch(ended.is_set, pause=0.005)
    print(json.dumps({"rounds": result.rounds, "texts": sorted(result.texts)}))
