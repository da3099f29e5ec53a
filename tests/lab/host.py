"""A real host for the tests: systemd as PID 1, sshd, sudo, its own address, in a second."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from tests.lab import layers
from tests.lab.claims import Place, hosts_dir, take_place
from tests.lab.container import boot, is_up, run_inside
from tests.lab.image import Image, build, client_key
from tests.lab.layers import Base, Snapshot
from tests.lab.network import Network
from tests.lab.personality import personalise
from tests.lab.places import lab_dir
from tests.lab.program import Finished, LabError, run
from tests.lab.ssh import SshConfig, public_keys, ssh_command

UV_CACHE = "/var/cache/mlflow-provision/uv"


class LabHost:
    """Use as `with LabHost() as host:`; after the block nothing of it is left."""

    user = "operator"
    port = 22

    def __init__(
        self,
        name: str | None = None,
        *,
        image: Image | None = None,
        base: Base | None = None,
        shared_cache: bool = True,
    ) -> None:
        self._wanted_name = name
        self._image = image or Image()
        self._base = base
        self._shared_cache = shared_cache
        self._place: Place | None = None
        self._owner: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def find(cls, name: str) -> LabHost:
        """The host that another process made and kept."""
        host = cls(name)
        host._place = Place(hosts_dir() / name)
        if not host._place.folder.is_dir():
            raise LabError(f"there is no lab host {name!r}; see `python -m tests.lab list`")
        return host

    @property
    def place(self) -> Place:
        if self._place is None:
            raise LabError("this lab host was never started, or is removed")
        return self._place

    @property
    def name(self) -> str:
        return self.place.name

    @property
    def folder(self) -> Path:
        """What the lab keeps about it: overlay, console.log, ssh_config, known_hosts."""
        return self.place.folder

    @property
    def network(self) -> Network:
        """Where to `cut()`, `restore()`, `block_internet()`, `allow_internet()`."""
        return self.place.network

    @property
    def address(self) -> str:
        return self.network.address

    @property
    def key(self) -> Path:
        return client_key()

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def running(self) -> bool:
        return self.place.group.leader() is not None

    def start(self) -> LabHost:
        """Make it if it is new, boot it, and wait until it can be used."""
        if self._place is None:
            lower = self._base.layers if self._base else (build(self._image),)
            self._place, self._owner = take_place(self._wanted_name)
            layers.mount(self.folder, lower)
            personalise(self.place.root, self.name, self.address)
            self.write_ssh_config(self.folder)
        if not self.running:
            cache = lab_dir() / "uv-cache"
            cache.mkdir(exist_ok=True)
            self._process = boot(self.place, {cache: UV_CACHE} if self._shared_cache else {})
        self.wait_ready()
        return self

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until systemd has started everything and sshd answers."""
        self._wait(timeout, "is not up", lambda: is_up(self.place.group.leader(), self.address, self.port))

    def reboot(self) -> None:
        before = self.place.group.leader()
        self.run(["systemctl", "reboot"])
        self._wait(60, "has not rebooted", lambda: self.place.group.leader() not in (before, None))
        self.wait_ready()

    def stop(self) -> None:
        """Shut it down in good order; its files stay, and `start()` boots it again."""
        leader = self.place.group.leader()
        if leader is not None:
            os.kill(leader, signal.SIGRTMIN + 4)  # to systemd as PID 1: power off
            self.place.group.wait_until_empty(60)
        self.kill()

    def kill(self) -> None:
        """Take away the power; its files stay, and `start()` boots it again."""
        self.place.group.kill()
        if self._process:
            self._process.wait()

    def snapshot(self) -> Snapshot:
        """Stop it; what it has written becomes the base of other hosts, and of itself when started again."""
        self.stop()
        layers.unmount(self.folder)
        snapshot = layers.take_snapshot(self.folder)
        layers.mount(self.folder, snapshot.layers)
        return snapshot

    def keep(self) -> None:
        """Let it live on after this process, until `LabHost.find(name).remove()`."""
        (self.folder / "keep").touch()

    def remove(self) -> None:
        """End it and delete all of it; nothing happens when there is nothing."""
        if self._place is not None:
            self._place.clear()
            self._place = None
        if self._process:
            self._process.wait()
        if self._owner:
            self._owner.close()

    def __enter__(self) -> LabHost:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def run(
        self,
        argv: Sequence[str],
        check: bool = True,
        input: str | None = None,
        user: str = "root",
        timeout: float | None = None,
    ) -> Finished:
        """Run on the host without SSH."""
        leader = self.place.group.leader()
        return run_inside(leader, argv, check=check, input=input, user=user, timeout=timeout)

    def ssh(
        self,
        argv: Sequence[str],
        check: bool = True,
        input: str | None = None,
        user: str = user,
        timeout: float | None = 120,
    ) -> Finished:
        """Run on the host through OpenSSH."""
        return run(ssh_command(self.ssh_config, self.name, user, argv), check=check, input=input, timeout=timeout)

    def write_ssh_config(
        self, folder: Path, *, user: str = user, address: str = "", port: int = port, known: bool = True
    ) -> Path:
        """An ssh_config in `folder`; for another user, through a proxy, or with an empty known_hosts."""
        host_keys = public_keys(self.place.root) if known else []
        return SshConfig(self.name, address or self.address, port, user, self.key, host_keys).write(folder)

    def path(self, inside: str) -> Path:
        """Where a file of the host lies on this machine. An absolute symlink in it points into this machine."""
        return self.place.root / inside.lstrip("/")

    def now(self) -> float:
        """The time by the clock of the host's files, later than all that was written up to here."""
        time.sleep(0.02)  # the clock of a file system ticks every 4-10 ms
        (self.folder / "clock").touch()
        return (self.folder / "clock").stat().st_ctime

    def changed_files(self, since: float) -> list[str]:
        """Every file written, made or deleted (`-/path`) since `now()`, without logs and temporary files."""
        return sorted(layers.changed_files(self.folder / "upper", since))

    def _wait(self, timeout: float, complaint: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() > deadline or (self._process and self._process.poll() is not None):
                console = (self.folder / "console.log").read_text(errors="replace")
                raise LabError(f"{self.name} {complaint}; its console ends with:\n{console[-2000:]}")
            time.sleep(0.02)
