"""The documentation and the command line know the same commands and options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mlflow_provision.cli import cli
from mlflow_provision.cli.group import COMMANDS
from mlflow_provision.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "commands.md"
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if page.exists()]
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options(name: str) -> set[str]:
    """Every spelling of every option of a command."""
    spellings = {"-h", "--help"}
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            spellings.update([*parameter.opts, *parameter.secondary_opts])
    return spellings


def section(name: str) -> str:
    """What the reference says about a command, and about all of them."""
    sections = re.split(r"^## ", REFERENCE.read_text(), flags=re.MULTILINE)
    wanted = [text for text in sections if text.startswith((f"{name}\n", "Options that many commands have\n"))]
    assert len(wanted) == 2, f"docs/commands.md has no section {name}"
    return "".join(wanted)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    documented = set(OPTION.findall(section(name)))
    assert options(name) <= documented


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_in_a_section_exists(name: str) -> None:
    own = section(name).split("Options that many commands have")[0]
    table = [line.split("|")[1] for line in own.splitlines() if line.startswith("| `-")]
    assert set(OPTION.findall("".join(table))) <= options(name)


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \|", REFERENCE.read_text(), flags=re.MULTILINE)
    assert [int(row) for row in rows] == [int(code) for code in ExitCode]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_pages_tell_people_to_type_exists(page: Path) -> None:
    for line in typed(page.read_text()):
        words = line.split(" -- ")[0].split()  # what follows is another program
        if len(words) < 2 or not re.fullmatch(r"[a-z]+", words[1]):
            continue
        assert words[1] in COMMANDS, line
        unknown = {word for word in words[2:] if OPTION.fullmatch(word)} - options(words[1])
        assert not unknown, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_are_there_and_load_nothing(page: Path) -> None:
    for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text()):
        picture = (page.parent / name).read_text()
        assert picture.startswith("<svg") and "url(http" not in picture and "href" not in picture, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_the_pages_mention_exist(page: Path) -> None:
    known = {"--version"}.union(*(options(name) for name in COMMANDS))
    mentioned = set(re.findall(r"`(--[a-z][a-z-]*)[^`]*`", page.read_text()))
    assert mentioned <= known


def typed(text: str) -> Iterator[str]:
    """Every `mlflow-provision …` in code: to the end of the span, the line, or the shell's next word."""
    for found in re.finditer(r"\bmlflow-provision(?: [^`\n#|;&)\"]*)?", text):
        try:
            yield shlex.join(shlex.split(found[0]))
        except ValueError:
            yield found[0]
