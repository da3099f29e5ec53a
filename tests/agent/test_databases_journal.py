"""What an earlier version of this program wrote down on a host is still understood: an upgrade of ours may come between
a restore that was killed and its way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_provision.agent.databases.journal import Journal
from mlflow_provision.agent.restore import journal as restores
from mlflow_provision.agent.upgrade import journal as upgrades

BEFORE = """{
 "id": "20261121T153012Z-4f2a9c",
 "had": {
  "mlflow.db": true
 },
 "phase": "switching",
 "since": 1763730000.0
}
"""


@pytest.mark.parametrize(
    ("name", "journal_in"), [("restore.json", restores.journal_in), ("upgrading", upgrades.journal_in)]
)
def test_a_journal_of_before_is_read_and_gone_on_with(
    tmp_path: Path, name: str, journal_in: Callable[[str], Journal]
) -> None:
    (tmp_path / name).write_text(BEFORE)
    journal = journal_in(str(tmp_path))
    assert (journal.phase, journal.read()["had"]) == ("switching", {"mlflow.db": True})
    journal.write("undoing", kept="elsewhere")
    noted = journal.read()
    assert (noted["phase"], noted["kept"], noted["id"]) == ("undoing", "elsewhere", "20261121T153012Z-4f2a9c")
    assert noted["since"] > 1763730000.0
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    journal.end()
    assert journal.read() == {}
    assert list(tmp_path.iterdir()) == []


def test_the_journal_of_a_restore_that_has_ended_is_kept_with_what_it_replaced(tmp_path: Path) -> None:
    (tmp_path / "restore.json").write_text(BEFORE)
    restores.journal_in(str(tmp_path)).end(str(tmp_path / "restored.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["restored.json"]


@pytest.mark.parametrize("text", ["", "{ half", "[1]"])
def test_a_journal_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "restore.json").write_text(text)
    assert restores.journal_in(str(tmp_path)).read() == {}


def test_the_door_is_where_the_start_script_looks(tmp_path: Path) -> None:
    restores.close_door(str(tmp_path))
    assert (tmp_path / "restoring").stat().st_mode & 0o777 == 0o644
    restores.open_door(str(tmp_path))
    restores.open_door(str(tmp_path))
    assert not (tmp_path / "restoring").exists()
