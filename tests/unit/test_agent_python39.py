"""The agent runs on whatever Python a host has, from 3.9 on, and on nothing but its standard library."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_provision.host.program import AGENT, pack

OLDEST = (3, 9)
NEWER_THAN_OLDEST = {"tomllib", "annotationlib", "compression"}
MODULES = sorted(AGENT.rglob("*.py"))

IMPORT_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
    assert sys.modules[name].__file__.startswith(sys.argv[1]), name
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(AGENT.parents[1]).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "" if node.level == 0 else "mlflow_provision.agent"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_is_python_39_and_imports_only_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"), feature_version=OLDEST)
    standard = sys.stdlib_module_names - NEWER_THAN_OLDEST
    foreign = {
        name
        for name in imported(tree)
        if name.split(".")[0] not in standard and not (name + ".").startswith("mlflow_provision.agent.")
    }
    assert foreign == set()


def test_no_module_needs_a_newer_dataclass() -> None:
    newer = {"slots", "kw_only", "match_args", "weakref_slot"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("dataclass", "field")
            ):
                assert not newer & {keyword.arg for keyword in node.keywords}, path


def python39() -> str | None:
    """A Python 3.9 that runs; some that are found on PATH are only stand-ins that say they are not installed."""
    home = Path.home()
    found = [shutil.which("python3.9"), *home.glob(".pyenv/versions/3.9*/bin/python3.9")]
    found += home.glob(".local/share/uv/python/cpython-3.9*/bin/python3.9")
    runs = (
        str(path) for path in found if path and not subprocess.run([path, "-c", ""], capture_output=True).returncode
    )
    return next(runs, None)


@pytest.mark.parametrize("python", [sys.executable, pytest.param(python39(), id="python3.9")])
def test_every_module_can_be_imported_as_it_travels(python: str | None, tmp_path: Path) -> None:
    if python is None:
        pytest.skip("no Python 3.9 here")
    program = tmp_path / "agent.zip"
    program.write_bytes(pack())
    names = [module_name(path) for path in MODULES]
    argv = [python, "-BEsS", "-c", IMPORT_ALL, str(program), *names]
    finished = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
