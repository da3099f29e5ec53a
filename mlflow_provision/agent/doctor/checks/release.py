"""Does the Python that the server runs on still work, and is its MLflow one of today's?"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.command import SYSTEM_PATH
from mlflow_provision.agent.doctor.finding import Finding, bad, ok, some, unknown, warn
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.release_version import mlflow_version
from mlflow_provision.agent.resources.release import STAMP

_SECONDS = 40.0
# Compiled modules are what an upgrade of the system breaks: they are tried, and not only looked for.
_PROGRAM = """
import importlib.util, json, sys
missing = []
for name in ("ssl", "sqlite3", "ctypes", "zlib", "hashlib", "sqlalchemy", "alembic", "cryptography", "yaml"):
    try:
        __import__(name)
    except Exception as error:
        missing.append(f"{name}: {type(error).__name__}: {error}")
for name in ("mlflow", "uvicorn" , "flask", "flask_wtf"):
    if importlib.util.find_spec(name) is None:
        missing.append(f"{name}: not found")
print(json.dumps({"python": "%d.%d.%d" % sys.version_info[:3], "missing": missing}))
"""
_OLDEST = (3, 10, 0)
_BEHIND = 4  # minor versions: MLflow has one a month


def broken(patient: Patient) -> Finding:
    """The venv is complete, and its Python can import what the server needs."""
    venv = patient.data["venv"]
    if not os.path.lexists(venv):
        return bad(f"{venv} is missing", fix="apply")
    release = os.path.realpath(venv)
    if not os.path.isdir(release):
        return bad(f"{venv} leads to {release}, which is not there", fix="reinstall", release=release)
    data = {"release": release}
    python = f"{release}/bin/python"
    if not os.access(python, os.X_OK):
        was = _stamp(release).get("python", "?")
        return bad(
            f"the Python of {release} is gone (it was {was})",
            cause="An upgrade of the operating system has removed the Python that it was made with.",
            fix="reinstall",
            **data,
        )
    stamp = _stamp(release)
    if not stamp:
        return bad(f"{release} is only half installed: it has no {STAMP}", fix="reinstall", **data)
    answer, problem = as_user(patient.user, lambda: _asked(python))
    if problem:
        return bad(f"{python} does not run: {problem}", fix="reinstall", **data)
    # A module that this release was never made with is no loss.
    names = {str(item).rpartition("-")[0].lower().replace("_", "-") for item in stamp.get("packages", [])}
    standard = ("ssl", "sqlite3", "ctypes", "zlib", "hashlib", "mlflow")
    missing = [
        item
        for item in answer["missing"]
        if (name := item.split(":")[0].replace("_", "-")) in (*standard, *names)
        or (name == "yaml" and "pyyaml" in names)
    ]
    missing += [f"{item}: its files are gone" for item in _gone(release, stamp)]
    if missing:
        return bad(
            f"Python {answer['python']} of {release} cannot import what the server needs: {some(missing)}",
            fix="reinstall",
            **data,
        )
    return ok(f"{release}, Python {answer['python']}, {len(names)} packages", **data)


def _stamp(release: str) -> dict[str, Any]:
    try:
        stamp = json.loads(Path(release, STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _gone(release: str, stamp: dict[str, Any]) -> list[str]:
    """Packages that were there when the release was made."""
    there = {path.name[: -len(".dist-info")] for path in Path(release).glob("lib/python*/site-packages/*.dist-info")}
    named = {re.sub(r"-[^-]*$", "", name) for name in there}
    return [name for name in stamp.get("packages", []) if re.sub(r"-[^-]*$", "", str(name)) not in named]


def _asked(python: str) -> tuple[dict[str, Any], str]:
    """What the release's Python says of itself, or why it says nothing. As the service user, who must run it, too."""
    argv = [python, "-I", "-B", "-W", "ignore", "-c", _PROGRAM]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"no answer within {_SECONDS:.0f} s"
    except OSError as error:
        return {}, error.strerror or str(error)
    try:
        answer = json.loads(done.stdout.decode("utf-8", "replace").strip().splitlines()[-1])
        return answer, ""
    except (ValueError, IndexError):
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return {}, words[-1][:300] if words else f"it ended with exit code {done.returncode}"


def old(patient: Patient) -> Finding:
    """The MLflow that is installed is not one that has been left behind."""
    version = mlflow_version(os.path.realpath(patient.data["venv"]))
    newest = str(patient.data["newest"])
    if not version:
        return unknown(f"no MLflow can be found in {patient.data['venv']}")
    installed, tested = _numbers(version), _numbers(newest)
    data = {"version": version, "newest": newest}
    if installed < _OLDEST:
        return bad(
            f"MLflow {version} lets any web page that a user visits write with that user's login",
            cause="Before 3.10.0 MLflow does not check where requests come from.",
            **data,
        )
    if installed[0] < tested[0] or (installed[0] == tested[0] and tested[1] - installed[1] >= _BEHIND):
        return warn(f"MLflow {version} is old: {newest} is the newest that this tool was tested with", **data)
    return ok(f"MLflow {version}" + (f" ({newest} can be had)" if installed < tested else ""), **data)


def _numbers(version: str) -> tuple[int, ...]:
    found = [int(part) for part in re.findall(r"\d+", version)[:3]]
    return tuple(found + [0] * (3 - len(found)))
