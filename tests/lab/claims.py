"""Which lab hosts exist on this machine, whose they are, and the removal of those that are nobody's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.lab import layers
from tests.lab.cgroup import ControlGroup
from tests.lab.network import NUMBERS, Network, sweep_services_address
from tests.lab.places import MACHINE_LOCK, claim, claim_new, delete_tree, exclusive, lab_dir, write_whole
from tests.lab.program import LabError


@dataclass(frozen=True)
class Place:
    """The folder and the network of one host; `keep` in the folder lets it outlive its process."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def network(self) -> Network:
        return Network(int((self.folder / "network").read_text()))

    @property
    def group(self) -> ControlGroup:
        return ControlGroup(self.network.namespace)

    @property
    def kept(self) -> bool:
        return (self.folder / "keep").exists()

    def clear(self) -> None:
        """End its processes, free its network and delete its files. Right from any state."""
        # Whoever dies half-way leaves the folder, and with it the number, for the next sweep.
        if (self.folder / "network").exists():
            self.group.kill()
            self.group.remove()
            layers.unmount(self.folder)
            self.network.remove()
        delete_tree(self.folder)


def hosts_dir() -> Path:
    return lab_dir() / "hosts"


def places() -> list[Place]:
    return [Place(folder) for folder in sorted(hosts_dir().glob("*")) if folder.is_dir()]


def take_place(name: str | None) -> tuple[Place, IO[str]]:
    """A new place, with a free network, ours until the file is closed. Sweeps first."""
    if name is not None and not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", name):
        raise LabError(f"{name!r} is no host name: use a-z, 0-9 and -")
    hosts_dir().mkdir(parents=True, exist_ok=True)
    with exclusive(MACHINE_LOCK):
        _sweep()
        taken = {file.read_text() for file in hosts_dir().glob("*/network")}
        number = next((n for n in NUMBERS if str(n) not in taken and not Network(n).exists()), None)
        if number is None:
            raise LabError("all lab networks are in use; see `python -m tests.lab list`")
        place = Place(hosts_dir() / (name or f"lab{number}"))
        try:
            place.folder.mkdir()
        except FileExistsError:
            raise LabError(f"there is a lab host {place.name} already") from None
        owner = claim_new(place.folder)
        write_whole(place.folder / "network", str(number))
        place.network.create()
    return place, owner


def sweep() -> list[str]:
    """Remove what killed runs left; returns the names of the hosts removed."""
    hosts_dir().mkdir(parents=True, exist_ok=True)
    with exclusive(MACHINE_LOCK):
        return _sweep()


def _sweep() -> list[str]:
    removed = []
    for place in places():
        if not place.kept and (owner := claim(place.folder)):
            place.clear()
            owner.close()
            removed.append(place.name)
    layers.sweep_snapshots(hosts_dir())
    sweep_services_address()
    return removed
