"""Each lab host runs in a control group of its own, so that all its processes can be found by name."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.program import LabError

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class ControlGroup:
    name: str

    @property
    def folders(self) -> list[Path]:
        """One folder with cgroup v2; two where systemd's own v1 tree stands beside a v2 tree ("hybrid")."""
        trees = [tree for tree in (ROOT / "systemd", ROOT / "unified") if tree.is_dir()]
        return [tree / self.name for tree in trees or [ROOT]]

    def create(self) -> None:
        for folder in self.folders:
            folder.mkdir(exist_ok=True)

    def processes(self) -> list[int]:
        found: list[int] = []
        for directory, _, _ in os.walk(self.folders[0]):
            with suppress(OSError):  # the group went away while we looked
                found += map(int, Path(directory, "cgroup.procs").read_text().split())
        return found

    def leader(self) -> int | None:
        """The process that is PID 1 inside: it has one process id here and a second, 1, in the host."""
        for process in self.processes():
            with suppress(OSError, StopIteration):
                lines = Path(f"/proc/{process}/status").read_text().splitlines()
                ids = next(line for line in lines if line.startswith("NSpid:")).split()[1:]
                # before it has become systemd it still sees this machine's files, and its systemd
                booted = Path(f"/proc/{process}/comm").read_text() == "systemd\n"
                if len(ids) == 2 and ids[1] == "1" and booted:
                    return process
        return None

    def wait_until_empty(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def kill(self) -> None:
        """SIGKILL: to the leader, whose end ends all; then to whatever is still there."""
        if leader := self.leader():
            with suppress(ProcessLookupError):
                os.kill(leader, signal.SIGKILL)
            self.wait_until_empty(2)  # so that each parent buries its child
        for _ in range(50):  # members may fork
            for process in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            if self.wait_until_empty(0.2):
                return
        raise LabError(f"processes of {self.name} survive SIGKILL: {self.processes()}")

    def remove(self) -> None:
        for folder in self.folders:
            for directory, _, _ in os.walk(folder, topdown=False):
                Path(directory).rmdir()
