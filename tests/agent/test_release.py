"""A release is a whole venv or none: what is half installed is installed again."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_provision.agent.command import CommandFailed
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.release import Release
from tests.agent.converge import found, mend
from tests.agent.fake_uv import FakeUv


@pytest.fixture
def uv(tmp_path: Path) -> FakeUv:
    return FakeUv(tmp_path / "bin")


@pytest.fixture
def release(tmp_path: Path, uv: FakeUv) -> Release:
    return Release(
        id="release",
        path=str(tmp_path / "releases" / "3.17.2-0000"),
        uv=str(uv.path),
        requirements=("mlflow[auth]==3.17.2", "boto3"),
        constraints=("alembic==1.0", "mlflow==3.17.2"),
        python=">=3.10,<3.15",
        pythons=str(tmp_path / "python"),
        cache=str(tmp_path / "cache"),
        index_url="https://mirror.example/simple",
    )


def test_a_missing_release_is_installed(release: Release, uv: FakeUv) -> None:
    assert mend(release) == "install mlflow[auth]==3.17.2, boto3"
    path = release.path
    assert uv.calls == [
        f"venv --python >=3.10,<3.15 --no-project {path}",
        f"pip install --python {path}/bin/python --constraints {path}/constraints.txt mlflow[auth]==3.17.2 boto3",
    ]
    assert Path(path, "seen-constraints.txt").read_text() == "alembic==1.0\nmlflow==3.17.2\n"


def test_the_stamp_says_what_is_in_it(release: Release) -> None:
    mend(release)
    stamp = json.loads(Path(release.path, "release.json").read_text())
    assert stamp["requirements"] == ["mlflow[auth]==3.17.2", "boto3"]
    assert stamp["packages"] == ["alembic-1.0", "mlflow-3.17.2"]
    assert stamp["python"] == os.path.realpath(Path(release.path, "bin", "python"))


def test_uv_depends_on_nothing_but_what_it_is_told(
    release: Release, uv: FakeUv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "https://of-the-person.example")
    monkeypatch.setenv("PYTHONPATH", "/of/the/person")
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", "CANARY")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    mend(release)
    for command in ("venv", "pip"):
        environment = uv.environment(command)
        assert environment["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
        assert environment["UV_CACHE_DIR"] == release.cache
        assert environment["UV_PYTHON_INSTALL_DIR"] == release.pythons
        assert environment["UV_SYSTEM_CERTS"] == "1"  # a company's own CA
        assert environment["UV_NO_CONFIG"] == "1"
        assert environment["HTTPS_PROXY"] == "http://proxy.example:3128"
        assert not {"UV_INDEX_URL", "PYTHONPATH", "MLFLOW_PROVISION_ADMIN_PASSWORD"} & set(environment)


def test_without_cache_and_mirror_uv_takes_its_own(release: Release, uv: FakeUv) -> None:
    plain = Release("r", release.path, release.uv, release.requirements, (), release.python, release.pythons)
    mend(plain)
    assert not {"UV_DEFAULT_INDEX", "UV_CACHE_DIR"} & set(uv.environment("pip"))


def _without_stamp(path: Path) -> None:
    (path / "release.json").unlink()


def _stamp_cut_short(path: Path) -> None:
    (path / "release.json").write_text('{"requ')


def _python_gone(path: Path) -> None:
    (path / "bin" / "python").unlink()
    (path / "bin" / "python").symlink_to("/nowhere/python3.11")


def _empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "summary"),
    [
        (_without_stamp, "install again: it is only half installed"),
        (_stamp_cut_short, "install again: it is only half installed"),
        (_python_gone, "install again: its Python ("),
        (_empty, "install again: it is only half installed"),
        (shutil.rmtree, "install mlflow[auth]==3.17.2, boto3"),
    ],
)
def test_half_a_release_is_installed_again_from_nothing(
    release: Release, damage: Callable[[Path], None], summary: str
) -> None:
    mend(release)
    Path(release.path, "left-over").touch()
    damage(Path(release.path))
    assert mend(release).startswith(summary)
    assert not Path(release.path, "left-over").exists()


def test_a_failed_install_leaves_nothing_and_the_next_run_installs(release: Release, uv: FakeUv) -> None:
    uv.fail("error: something broke")
    with pytest.raises(AgentError):
        release.apply(Context())
    assert not Path(release.path).exists()
    uv.recover()
    mend(release)


def test_what_uv_prints_is_shown_line_by_line(release: Release) -> None:
    lines: list[str] = []
    release.apply(Context(output=lines.append))
    assert lines == [f"Creating virtual environment at: {release.path}", "Resolved 96 packages in 12ms"]


def test_stopping_ends_uv_and_the_next_run_installs(release: Release, uv: FakeUv) -> None:
    uv.hang()
    lines: list[str] = []
    started = time.monotonic()
    with pytest.raises(AgentError) as caught:
        release.apply(Context(output=lines.append, stopping=lambda: "Resolved 96 packages in 12ms" in lines))
    assert caught.value.kind == "interrupted"
    assert not isinstance(caught.value, CommandFailed)
    assert time.monotonic() - started < 5
    assert found(release) == "install again: it is only half installed"
    uv.recover()
    mend(release)
