"""Real hosts for every test in this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.prepared import Prepared, prepared
from tests.e2e.served import Served
from tests.e2e.stock import stocked
from tests.lab import LabHost, MotoS3, RcloneS3, why_unavailable

HERE = Path(__file__).parent
UNAVAILABLE = why_unavailable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(tryfirst=True)  # before a fixture tries to make a host
def pytest_runtest_setup() -> None:
    if UNAVAILABLE is None:
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"In CI these tests must run. {UNAVAILABLE}", pytrace=False)
    pytest.skip(UNAVAILABLE)


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    """A blank host; the tests of one module share it."""
    with LabHost() as lab_host:
        yield lab_host


@pytest.fixture(scope="module")
def stocked_host() -> Iterator[LabHost]:
    """A host that was never set up either, but has the release that setup installs."""
    with LabHost(base=stocked()) as lab_host:
        yield lab_host


@pytest.fixture(scope="session")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """A host with a server on it, of which anybody may have a copy: `with set_up.copy(tmp_path / "home") as served`."""
    with prepared(tmp_path_factory.mktemp("home") / "operator") as found:
        yield found


@pytest.fixture(scope="session")
def set_up_once(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A host with a server on it, for all tests that only use servers."""
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        yield served


@pytest.fixture
def served(set_up_once: Served) -> Iterator[Served]:
    """The same, with no tunnel before and none after."""
    yield set_up_once
    set_up_once.as_it_was()


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    with RcloneS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[MotoS3]:
    """Takes any keys; a test about permissions makes its own with `MotoS3(enforce_iam=True)`."""
    with MotoS3() as server:
        yield server
