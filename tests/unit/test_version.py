"""Versions of MLflow, in their order."""

from __future__ import annotations

import pytest

from mlflow_provision.version import newer, numbers


@pytest.mark.parametrize(
    ("version", "than"),
    [("3.17.2", "3.17.1"), ("3.10.0", "3.9.9"), ("3.18", "3.17.2"), ("3.18.0", "3.18.0rc1"), ("3.18.0rc10", "3.18rc9")],
)
def test_one_comes_after_the_other(version: str, than: str) -> None:
    assert newer(version, than) and not newer(than, version)


@pytest.mark.parametrize(("version", "other"), [("3.17.2", "3.17.2"), ("3.17", "3.17.0")])
def test_the_same_is_not_newer(version: str, other: str) -> None:
    assert not newer(version, other) and not newer(other, version)


def test_numbers() -> None:
    assert numbers("3.17.2rc1") == (3, 17, 2) and numbers("nonsense") == ()
