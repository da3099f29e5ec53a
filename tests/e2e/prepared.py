"""A server that was set up once, as the beginning of many hosts: each has it within seconds, and may break it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.operator import Operator, on
from tests.e2e.served import NAME, Served
from tests.e2e.stock import stocked
from tests.lab import LabHost
from tests.lab.layers import Snapshot


@dataclass
class Prepared:
    """The disk of a host with the deployment `prod`, and what its operator keeps."""

    snapshot: Snapshot
    deployments: Path
    name: str  # of the host that it was

    @contextmanager
    def copy(self, home: Path) -> Iterator[Served]:
        """A host like it, and an operator who lives in the folder `home` and has its files."""
        home.mkdir(parents=True, exist_ok=True)
        with LabHost(base=self.snapshot) as host:
            operator = Operator(home, host.ssh_config)
            shutil.copytree(self.deployments, operator.config)
            operator.edit(NAME, self.name, host.name)
            operator.run("setup", NAME, "--yes")  # the host keeps a copy of that file
            yield Served(host, operator)


@contextmanager
def prepared(home: Path, *options: str, then: Callable[[Served], object] = lambda served: None) -> Iterator[Prepared]:
    """Set a blank host up, with these options of `setup`, do something more with it, and keep its disk."""
    home.mkdir(parents=True, exist_ok=True)
    with LabHost(base=stocked()) as host:
        operator = Operator(home, host.ssh_config)
        operator.run("setup", on(host), "--name", NAME, "--yes", *options)
        then(Served(host, operator))
        snapshot = host.snapshot()
        name = host.name
    try:
        yield Prepared(snapshot, operator.config, name)
    finally:
        snapshot.remove()
