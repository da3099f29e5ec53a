"""Lines that are longer than the terminal is wide."""

from __future__ import annotations

import pytest

from mlflow_provision.console.folding import folded


def test_what_fits_stays_as_it_is() -> None:
    assert folded("  two   words  ", 15) == ["  two   words  "]


def test_prose_breaks_between_words() -> None:
    assert folded("one two three four", 9) == ["one two", "three", "four"]


def test_what_belongs_to_a_label_stays_beside_it() -> None:
    assert folded("  disk      60 GB of 270 GB free, as far as known", 30) == [
        "  disk      60 GB of 270 GB",
        "            free, as far as",
        "            known",
    ]


def test_a_bullet_stands_alone() -> None:
    assert folded("    * a folder with a long name", 24) == ["    * a folder with a", "      long name"]


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_command_is_never_broken(width: int) -> None:
    command = "mlflow-provision backup schedule old --every daily --to PLACE"
    lines = folded(f"  warning   there are no backups: {command}", width)
    assert lines[-1].strip() == command
    assert all(len(line) <= width for line in lines[:-1])


def test_a_command_behind_a_label_is_not_broken() -> None:
    line = "  Tunnel    mlflow-provision tunnel prod --background --local-port 5000"
    assert folded(line, 40) == [line]


def test_a_word_that_is_too_long_is_left_whole() -> None:
    assert folded("see /a/path/that/is/longer", 10) == ["see", "/a/path/that/is/longer"]
