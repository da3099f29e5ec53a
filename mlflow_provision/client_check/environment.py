"""A Python that has the client: this one, or an environment of our own in the user's cache."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mlflow_provision.errors import ProvisionError
from mlflow_provision.requirements import constraints

PACKAGES = ("mlflow", "scikit-learn", "matplotlib")
_COMPLETE = "complete"  # a file that is written when all is installed
_LAST_WORDS = 1500


def this_python(version: str) -> Path | None:
    """The Python in use, if it has the client, in the server's version."""
    try:
        found = {package: importlib.metadata.version(package) for package in PACKAGES}
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(sys.executable) if found["mlflow"] == version else None


def folder(version: str) -> Path:
    """Of the environment for this version of MLflow and this Python."""
    from platformdirs import user_cache_path

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return user_cache_path("mlflow-provision") / f"client-{version}-py{python}"


def cached(version: str) -> Path | None:
    return _python(folder(version)) if (folder(version) / _COMPLETE).is_file() else None


def installer() -> str:
    """What would install it: uv, or pip in a venv, which takes longer."""
    return "uv" if _uv() else "pip"


def install(version: str, progress: Callable[[str], None] = lambda line: None, index_url: str = "") -> Path:
    """Make the environment, from nothing if an earlier try ended halfway; its Python. `index_url`: a mirror."""
    place = folder(version)
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    limits = place.with_name(place.name + ".constraints")
    limits.write_text("\n".join(constraints(version)) + "\n", "utf-8")
    wanted = [f"mlflow=={version}", *PACKAGES[1:]]
    if uv := _uv():
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(place)], progress, index_url)
        _run([uv, "pip", "install", "--python", str(_python(place)), "-c", str(limits), *wanted], progress, index_url)
    else:
        _run([sys.executable, "-m", "venv", str(place)], progress, index_url)
        _run([str(_python(place)), "-m", "pip", "install", "-c", str(limits), *wanted], progress, index_url)
    limits.unlink()
    (place / _COMPLETE).touch()
    return _python(place)


def _uv() -> str | None:
    """On PATH, or installed beside the Python that runs us."""
    return shutil.which("uv") or shutil.which(str(Path(sys.executable).with_name("uv")))


def _python(place: Path) -> Path:
    return place / "bin" / "python"


def _run(argv: list[str], progress: Callable[[str], None], index_url: str) -> None:
    # Not as an argument: the URL of a mirror may have a password in it.
    index = {"UV_DEFAULT_INDEX": index_url, "PIP_INDEX_URL": index_url} if index_url else {}
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", **index}
    said = ""
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        for line in process.stdout or ():
            said = (said + line)[-_LAST_WORDS:]
            progress(line)
    if process.returncode:
        raise ProvisionError(
            f"the client could not be installed: {Path(argv[0]).name} ended with {process.returncode}:\n{said.strip()}",
            "install mlflow, scikit-learn and matplotlib yourself, into the Python that runs mlflow-provision",
        )
