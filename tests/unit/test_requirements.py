"""The packages of a release, the versions known to work together, and the name that follows from both."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from mlflow_provision.config import DEFAULT_MLFLOW_VERSION, Artifacts, Deployment, MLflow
from mlflow_provision.requirements import SUPPORTED_PYTHON, constraints, release_name, requirements
from mlflow_provision.uv_pin import UV_VERSION, UV_WHEELS

DEFAULT_CONSTRAINTS = constraints(DEFAULT_MLFLOW_VERSION)


def deployment(destination: str = "", version: str = DEFAULT_MLFLOW_VERSION) -> Deployment:
    return Deployment("server", "local", mlflow=MLflow(version=version), artifacts=Artifacts(destination=destination))


@pytest.mark.parametrize("destination", ["", "/srv/artifacts"])
def test_a_folder_needs_mlflow_alone(destination: str) -> None:
    assert requirements(deployment(destination, "3.16.1")) == ("mlflow[auth]==3.16.1",)


def test_s3_needs_boto3() -> None:
    assert requirements(deployment("s3://bucket/prefix")) == (f"mlflow[auth]=={DEFAULT_MLFLOW_VERSION}", "boto3")


def test_the_default_version_comes_with_a_pin_for_everything() -> None:
    pin = re.compile(r"[a-z0-9-]+==[a-z0-9.]+( ; .+)?")
    assert [line for line in DEFAULT_CONSTRAINTS if not pin.fullmatch(line)] == []
    pinned = {line.split("==")[0] for line in DEFAULT_CONSTRAINTS}
    assert {"mlflow", "mlflow-skinny", "boto3", "flask-wtf", "sqlalchemy", "uvicorn"} <= pinned
    assert f"mlflow=={DEFAULT_MLFLOW_VERSION}" in DEFAULT_CONSTRAINTS


def test_what_a_version_needs_is_pinned_once_for_each_python() -> None:
    unconditional = [line.split("==")[0] for line in DEFAULT_CONSTRAINTS if ";" not in line]
    conditional = {line.split("==")[0] for line in DEFAULT_CONSTRAINTS if ";" in line}
    assert len(unconditional) == len(set(unconditional))
    assert not conditional & set(unconditional)


def test_shipped_constraints_name_neither_windows_packages_nor_an_index() -> None:
    for shipped in resources.files("mlflow_provision.constraints").iterdir():
        if shipped.name.endswith(".txt"):
            text = shipped.read_text("utf-8")
            assert "pywin32" not in text
            assert "://" not in text
            assert "--" not in text


@pytest.mark.parametrize("version", ["2.22.5", "3.5.1", "3.6.0", "3.8.1"])
def test_old_versions_are_kept_from_what_breaks_them(version: str) -> None:
    assert constraints(version) == ("sqlalchemy<2.1",)


@pytest.mark.parametrize("version", ["3.9.0", "3.10.0rc1", "3.10.1", "3.16.1", "4.0.0"])
def test_other_versions_are_left_alone(version: str) -> None:
    assert constraints(version) == ()


def test_a_release_is_named_for_its_version_and_its_packages() -> None:
    name = release_name("3.17.2", ("mlflow[auth]==3.17.2", "boto3"), ("sqlalchemy==2.1.9", "flask==3.1.3"))
    assert re.fullmatch(r"3\.17\.2-[0-9a-f]{8}", name)
    assert name == release_name("3.17.2", ("boto3", "mlflow[auth]==3.17.2"), ("flask==3.1.3", "sqlalchemy==2.1.9"))


def test_other_packages_make_another_release() -> None:
    mlflow = "mlflow[auth]==3.17.2"
    names = {
        release_name("3.17.2", (mlflow,), ()),
        release_name("3.17.2", (mlflow, "boto3"), ()),
        release_name("3.17.2", (mlflow,), ("boto3",)),
        release_name("3.17.2", (mlflow,), ("boto3==1",)),
    }
    assert len(names) == 4


def test_python_range_is_what_the_agent_can_compare() -> None:
    assert re.fullmatch(r">=3\.\d+,<3\.\d+", SUPPORTED_PYTHON)


def test_uv_is_pinned_for_both_architectures() -> None:
    assert set(UV_WHEELS) == {"x86_64", "aarch64"}
    for architecture, (name, sha256) in UV_WHEELS.items():
        assert name.startswith(f"uv-{UV_VERSION}-py3-none-manylinux_2_17_{architecture}")
        assert name.endswith(".whl")
        assert re.fullmatch(r"[0-9a-f]{64}", sha256)
