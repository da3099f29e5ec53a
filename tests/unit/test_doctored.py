"""Every check of doctor is made to fail for real by an end-to-end test."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from mlflow_provision.doctor.catalog import CATALOG
from tests.e2e.doctored import found_by

E2E = Path(__file__).parents[1] / "e2e"


def test_every_check_is_made_to_fail() -> None:
    modules = [import_module(f"tests.e2e.{path.stem}") for path in sorted(E2E.glob("test_doctor*.py"))]
    made = {check for module in modules for check in found_by(module)}
    assert made - set(CATALOG) == set()
    assert set(CATALOG) - made == set()
