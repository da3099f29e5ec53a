"""uv comes out of its wheel on the package index, and only if its sha256 is the one we know."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.uv import Uv
from tests.agent.converge import found, mend, snapshot
from tests.agent.package_index import PackageIndex, uv_wheel

NAME = "uv-0.9.9-py3-none-manylinux_2_17_x86_64.whl"
WHEEL = uv_wheel("0.9.9")


@pytest.fixture
def uv(tmp_path: Path, package_index: PackageIndex) -> Uv:
    sha256 = package_index.add("uv", NAME, WHEEL)
    package_index.add("uv", "uv-0.9.9.tar.gz", b"sources")
    return Uv("uv", str(tmp_path / "bin" / "uv"), "0.9.9", {os.uname().machine: (NAME, sha256)}, package_index.url)


def test_a_missing_uv_is_installed_and_runs(uv: Uv) -> None:
    assert mend(uv) == "download, check the sha256, install"
    assert subprocess.check_output([uv.path, "--version"], text=True) == "uv 0.9.9 (fake)\n"
    assert Path(uv.path).stat().st_mode & 0o777 == 0o755
    assert [entry.name for entry in Path(uv.path).parent.iterdir()] == ["uv"]


def test_it_is_executable_for_everybody_whatever_the_umask(uv: Uv) -> None:
    umask = os.umask(0o077)
    try:
        mend(uv)
    finally:
        os.umask(umask)
    assert Path(uv.path).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("content", "summary"),
    [("#!/bin/sh\necho uv 0.9.8\n", "replace 0.9.8"), ("\x7fELF cut short", "replace a broken uv"), ("", "replace")],
)
def test_another_or_a_broken_uv_is_replaced(uv: Uv, content: str, summary: str) -> None:
    Path(uv.path).parent.mkdir()
    Path(uv.path).write_text(content)
    Path(uv.path).chmod(0o755)
    assert mend(uv).startswith(summary)


def test_one_that_may_not_be_run_is_replaced(uv: Uv) -> None:
    mend(uv)
    Path(uv.path).chmod(0o600)
    assert mend(uv) == "replace a broken uv"


def test_the_right_version_is_not_downloaded_again(uv: Uv, package_index: PackageIndex) -> None:
    mend(uv)
    package_index.requests.clear()
    assert found(uv) == ""
    assert package_index.requests == []


@pytest.mark.parametrize("served", [WHEEL + b"x", WHEEL[:-1], uv_wheel("0.9.9", "echo evil"), b""])
def test_another_sha256_is_refused_and_nothing_is_installed(
    uv: Uv, package_index: PackageIndex, tmp_path: Path, served: bytes
) -> None:
    package_index.add("uv", NAME, served)
    before = snapshot(tmp_path)
    with pytest.raises(AgentError, match=f"{NAME} .* sha256 [0-9a-f]{{64}}, expected [0-9a-f]{{64}}") as caught:
        uv.apply(Context())
    assert caught.value.kind == "index"
    assert snapshot(tmp_path) == before


def test_another_sha256_leaves_the_old_uv_in_place(uv: Uv, package_index: PackageIndex) -> None:
    Path(uv.path).parent.mkdir()
    Path(uv.path).write_text("#!/bin/sh\necho uv 0.9.8\n")
    package_index.add("uv", NAME, b"evil")
    with pytest.raises(AgentError):
        uv.apply(Context())
    assert Path(uv.path).read_text().endswith("echo uv 0.9.8\n")


def test_a_mirror_without_our_wheel_says_which(uv: Uv, package_index: PackageIndex) -> None:
    del package_index.files["uv"][NAME]
    with pytest.raises(AgentError, match=f"does not offer {NAME}") as caught:
        uv.apply(Context())
    assert "--index-url" in caught.value.hint


def test_progress_is_shown_and_stopping_stops_it(uv: Uv, tmp_path: Path) -> None:
    shown: list[str] = []
    uv.apply(Context(output=shown.append))
    assert shown == ["0 MB of 0 MB"]
    Path(uv.path).unlink()
    with pytest.raises(AgentError) as caught:
        uv.apply(Context(stopping=lambda: True))
    assert caught.value.kind == "interrupted"
    assert not Path(uv.path).exists()


def test_killed_before_the_switch_the_next_run_leaves_no_litter(uv: Uv) -> None:
    mend(uv)
    Path(uv.path).with_name(".uv.mlflow-provision-new").write_text("half")
    Path(uv.path).unlink()
    mend(uv)
    assert [entry.name for entry in Path(uv.path).parent.iterdir()] == ["uv"]
