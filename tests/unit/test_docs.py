"""The documentation and the command line know the same commands and options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mlflow_provision.cli import cli
from mlflow_provision.cli.group import COMMANDS, LazyGroup
from mlflow_provision.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "commands.md"
PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if page.exists()]
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def all_commands() -> Iterator[str]:
    """`setup`, …, `backup`, `backup now`, …"""
    for name in COMMANDS:
        yield name
        if isinstance(group := command(name), LazyGroup):
            yield from (f"{name} {inner}" for inner in group.table)


def command(name: str) -> click.Command:
    """The command of one or two words; a first word that is a group may be followed by what its first command takes."""
    found: click.Command = cli
    for word in name.split():
        assert isinstance(found, click.Group), name
        inner = found.get_command(click.Context(found), word)
        assert inner is not None, name
        found = inner
    return found


def meant(words: list[str]) -> str:
    """The command that somebody runs who types these words."""
    group = command(words[0]) if words[0] in COMMANDS else None
    if not isinstance(group, LazyGroup):
        return words[0]
    first = words[1] if len(words) > 1 else ""
    if first not in group.table and "now" not in group.table:
        return words[0]  # no command of it need not be typed
    return f"{words[0]} {first if first in group.table else 'now'}"


NAMES = list(all_commands())


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


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_is_documented(name: str) -> None:
    documented = set(OPTION.findall(section(name)))
    assert options(name) <= documented


@pytest.mark.parametrize("name", NAMES)
def test_every_option_in_a_section_exists(name: str) -> None:
    own = section(name).split("Options that many commands have")[0]
    table = [line.split("|")[1] for line in own.splitlines() if line.startswith("| `-")]
    assert set(OPTION.findall("".join(table))) <= options(name)


def test_nested_commands_are_found() -> None:
    assert {"setup", "backup", "backup now", "backup list"} <= set(NAMES)
    assert meant(["backup", "prod", "--to", "x"]) == "backup now" == meant(["backup"])
    assert meant(["backup", "verify", "20261121"]) == "backup verify" and meant(["plan", "now"]) == "plan"


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
        unknown = {word for word in words[2:] if OPTION.fullmatch(word)} - options(meant(words[1:]))
        assert not unknown, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_are_there_and_load_nothing(page: Path) -> None:
    for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text()):
        picture = (page.parent / name).read_text()
        assert picture.startswith("<svg") and "url(http" not in picture and "href" not in picture, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_the_pages_mention_exist(page: Path) -> None:
    known = {"--version"}.union(*(options(name) for name in NAMES))
    mentioned = set(re.findall(r"`(--[a-z][a-z-]*)[^`]*`", page.read_text()))
    assert mentioned <= known


def typed(text: str) -> Iterator[str]:
    """Every `mlflow-provision …` in code: to the end of the span, the line, or the shell's next word."""
    for found in re.finditer(r"\bmlflow-provision(?: [^`\n#|;&)\"]*)?", text):
        try:
            yield shlex.join(shlex.split(found[0]))
        except ValueError:
            yield found[0]
