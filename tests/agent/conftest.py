"""Doubles that several agent tests share: programs on the PATH, and a package index on this machine."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlflow_provision.agent.resources import systemd_service
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION
from tests.agent.fake_programs import FakePrograms
from tests.agent.fake_systemd import FakeSystemd
from tests.agent.health_page import HealthPage
from tests.agent.package_index import PackageIndex

if TYPE_CHECKING:
    from tests.agent.artifacts_box import Box


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePrograms:
    """A folder that stands first in every PATH the agent uses."""
    return FakePrograms(tmp_path / "programs", monkeypatch)


@pytest.fixture
def package_index() -> Iterator[PackageIndex]:
    """A package index that offers what the test puts into it."""
    with PackageIndex() as index:
        yield index


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that other users may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def page() -> Iterator[HealthPage]:
    """The health page of a server."""
    with HealthPage() as health_page:
        yield health_page


@pytest.fixture
def systemd(tmp_path: Path, programs: FakePrograms, page: HealthPage, monkeypatch: pytest.MonkeyPatch) -> FakeSystemd:
    """A systemd whose only unit runs well."""
    made = FakeSystemd(tmp_path / "systemd", programs, page)
    monkeypatch.setattr(systemd_service, "unit_of", lambda pid: made.resource.unit)  # its page is ours
    return made


@pytest.fixture(scope="session")
def mlflow_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the MLflow that we install unless told otherwise."""
    folder = tmp_path_factory.mktemp("release") / "venv"
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}  # trust what this machine trusts, as a setup does
    make = ["venv", "--python", sys.executable, str(folder)]
    install = ["pip", "install", "--python", str(folder), f"mlflow[auth]=={DEFAULT_MLFLOW_VERSION}"]
    for argv in (make, install):
        done = subprocess.run(["uv", *argv], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """An empty folder of artifacts, and a place for its backups."""
    from tests.agent.artifacts_box import Box

    return Box(tmp_path / "box")


@pytest.fixture
def some(box: Box) -> Box:
    """One with a few files, as MLflow leaves them."""
    box.write("1/aa/artifacts/model/MLmodel", "flavors: {}\n")
    box.write("1/aa/artifacts/model/weights.bin", random.Random(1).randbytes(300_000))
    box.write("1/bb/artifacts/plot.png", random.Random(2).randbytes(5_000))
    return box
