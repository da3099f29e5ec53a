"""A host's files: an overlay of what it wrote itself over an image, or over a snapshot of another host."""

from __future__ import annotations

import json
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.lab.places import MACHINE_LOCK, claim, claim_new, delete_tree, exclusive, lab_dir, write_whole
from tests.lab.program import run

# Written by a host that does nothing: not what a test asks about.
NOISE = ("/tmp", "/var/tmp", "/var/log", "/var/lib/systemd", "/var/lib/private", "/var/cache/ldconfig", "/root/.cache")


class Base:
    """What hosts stand on: folders, uppermost first, down to the image."""

    def __init__(self, *layers: Path) -> None:
        self.layers = layers


class Snapshot(Base):
    """What a stopped host had written, as the base of others. Gone with `remove()` or with this process."""

    def __init__(self, folder: Path, layers: tuple[Path, ...], owner: IO[str]) -> None:
        super().__init__(*layers)
        self.folder = folder
        self._owner = owner

    def remove(self) -> None:
        delete_tree(self.folder)
        self._owner.close()


def take_snapshot(host: Path) -> Snapshot:
    """Move what is in a host's `upper` into a snapshot: no copy, whatever its size."""
    folder = lab_dir() / "snapshots" / f"{host.name}-{uuid.uuid4().hex[:8]}"
    with exclusive(MACHINE_LOCK):  # no sweep between the two
        folder.mkdir(parents=True)
        owner = claim_new(folder)
    (host / "upper").rename(folder / "upper")
    return Snapshot(folder, (folder / "upper", *layers_of(host)), owner)


def layers_of(host: Path) -> list[Path]:
    """What the host stands on, uppermost first."""
    return [Path(layer) for layer in json.loads((host / "layers.json").read_text())]


def layers_in_use(hosts: Path) -> set[Path]:
    """All that some host stands on."""
    used: set[Path] = set()
    for file in hosts.glob("*/layers.json"):
        with suppress(FileNotFoundError):  # its owner is just removing it
            used.update(layers_of(file.parent))
    return used


def sweep_snapshots(hosts: Path) -> None:
    """Delete the snapshots whose process is gone, unless a host still stands on one."""
    used = layers_in_use(hosts)
    for folder in (lab_dir() / "snapshots").glob("*"):
        if folder / "upper" not in used and (owner := claim(folder)):
            delete_tree(folder)
            owner.close()


def mount(folder: Path, lower: Sequence[Path]) -> None:
    """Mount `folder/root`; what the host writes lands in `folder/upper`."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(exist_ok=True)
    write_whole(folder / "layers.json", json.dumps([str(layer) for layer in lower]))
    options = {
        "lowerdir": ":".join(str(layer) for layer in lower),
        "upperdir": str(folder / "upper"),
        "workdir": str(folder / "work"),
        # without it the kernel refuses to rename a folder that lies in a lower layer; a real disk does not
        "redirect_dir": "on",
    }
    settings = ",".join(f"{key}={value}" for key, value in options.items())
    run(["mount", "-t", "overlay", "mlflow-lab", "-o", settings, str(folder / "root")])


def unmount(folder: Path) -> None:
    """Unmount `folder/root`, however often it was mounted; lazily if someone still stands in it."""
    root = folder / "root"
    while os.path.ismount(root):
        if run(["umount", str(root)], check=False).returncode:
            run(["umount", "--lazy", str(root)])


def changed_files(upper: Path, since: float) -> Iterator[str]:
    """Every file or link written, made or deleted since; deleted ones start with `-`."""
    for directory, _, files in os.walk(upper):
        inside = "/" + str(Path(directory).relative_to(upper)).removeprefix(".")
        if any(f"{inside}/".startswith(f"{noise}/") for noise in NOISE):
            continue
        for name in files:
            with suppress(FileNotFoundError):
                status = Path(directory, name).lstat()
                if status.st_ctime >= since:
                    # the overlay's own sign for "deleted" is a device 0:0
                    deleted = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
                    yield ("-" if deleted else "") + str(Path(inside, name))
