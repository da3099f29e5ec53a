"""What people install: the wheel, built through the source distribution, works in an empty venv."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from mlflow_provision import __version__
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION
from mlflow_provision.host.program import pack
from mlflow_provision.requirements import constraints

ROOT = Path(__file__).resolve().parents[2]

USE_WHAT_IS_INSTALLED = """
from mlflow_provision.blueprint.render import _environment
from mlflow_provision.config import DEFAULT_MLFLOW_VERSION
from mlflow_provision.host.program import pack
from mlflow_provision.requirements import constraints

print(__import__("mlflow_provision").__file__)
print(*_environment().list_templates())
print(len(constraints(DEFAULT_MLFLOW_VERSION)))
print(len(pack()))
"""


def run(*argv: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    finished = subprocess.run([*map(str, argv)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a venv that has the wheel, and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return folder / "bin"


def files_below(folder: str, suffix: str) -> set[str]:
    return {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*" + suffix)}


TEMPLATES = files_below("templates", ".j2")


def test_the_wheel_carries_code_templates_constraints_and_the_licence(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    assert {f"mlflow_provision/templates/{name}" for name in TEMPLATES} <= carried
    assert {f"mlflow_provision/{name}" for name in files_below("mlflow_provision", ".py")} <= carried
    assert {f"mlflow_provision/{name}" for name in files_below("mlflow_provision", ".txt")} <= carried
    assert f"mlflow_provision-{__version__}.dist-info/licenses/LICENSE" in carried


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert top == {"mlflow_provision", f"mlflow_provision-{__version__}.dist-info"}


def test_the_command_runs(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "mlflow-provision", "--version", cwd=tmp_path) == f"mlflow-provision {__version__}\n"
    assert "setup" in run(installed / "mlflow-provision", "--help", cwd=tmp_path)
    assert "setup" in run(installed / "python", "-m", "mlflow_provision", "--help", cwd=tmp_path)


def test_what_the_code_reads_at_run_time_is_installed(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "python", "-c", USE_WHAT_IS_INSTALLED, cwd=tmp_path).splitlines()
    package, templates, pins, agent_size = said
    assert Path(package).is_relative_to(installed.parent)
    assert set(templates.split()) == TEMPLATES
    assert int(pins) == len(constraints(DEFAULT_MLFLOW_VERSION)) > 0
    assert int(agent_size) == len(pack())
