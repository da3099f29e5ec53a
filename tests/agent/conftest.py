"""Doubles that several agent tests share: programs on the PATH, and a package index on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.fake_programs import FakePrograms
from tests.agent.fake_systemd import FakeSystemd
from tests.agent.health_page import HealthPage
from tests.agent.package_index import PackageIndex


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
def systemd(tmp_path: Path, programs: FakePrograms, page: HealthPage) -> FakeSystemd:
    """A systemd whose only unit runs well."""
    return FakeSystemd(tmp_path / "systemd", programs, page)
