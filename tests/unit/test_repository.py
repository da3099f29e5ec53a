"""What may be in the repository: nothing that works only on the machine it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from jinja2 import StrictUndefined

from mlflow_provision.blueprint.render import _environment

ROOT = Path(__file__).resolve().parents[2]

# Package registries are the business of pip, uv and apt, and of `[mlflow] index_url`. Written so as not to name them.
REGISTRIES = (
    "py" + "pi.org",
    "python" + "hosted.org",
    "deb.debian" + ".org",
    "archive.ubuntu" + ".com",
    "npm" + "js.org",
)

# Folders of one machine; and words about how a change came to be, which belong to nobody who reads it later.
MACHINE = re.compile(
    "|".join([r"(?<![\w.$}*-])/wor" + r"k/", r"/root/\." + r"pyenv", r"/tmp/pr" + "ep", r"/opt/(wheels|py" + r"pi)"])
)
HOW_IT_WAS_MADE = re.compile(
    r"\b(this|last|next|earlier|previous|another) sess" + r"ion\b|\bcolle" + r"ague's\b", re.IGNORECASE
)


def tracked() -> list[Path]:
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


TRACKED = tracked()
needs_git = pytest.mark.skipif(not TRACKED, reason="not a git checkout")


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in TRACKED
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


@needs_git
def test_no_registry_is_named() -> None:
    assert lines_with(re.compile("|".join(map(re.escape, REGISTRIES)), re.IGNORECASE)) == []


@needs_git
@pytest.mark.parametrize("pattern", [MACHINE, HOW_IT_WAS_MADE], ids=["machine", "how it was made"])
def test_nothing_speaks_of_where_and_how_it_was_written(pattern: re.Pattern[str]) -> None:
    assert lines_with(pattern) == []


@needs_git
def test_nothing_that_is_generated_is_tracked() -> None:
    generated = re.compile(r"(^|/)(__pycache__|\.venv|dist|build|[^/]+\.egg-info)/|\.(pyc|db|log)$")
    assert [str(path) for path in TRACKED if generated.search(path.relative_to(ROOT).as_posix())] == []


@pytest.mark.parametrize(
    "name", sorted(p.relative_to(ROOT / "templates").as_posix() for p in ROOT.glob("templates/**/*.j2"))
)
def test_a_template_compiles_and_a_missing_value_is_an_error(name: str) -> None:
    environment = _environment()
    assert environment.undefined is StrictUndefined
    environment.get_template(name)
