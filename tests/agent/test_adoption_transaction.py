"""The verb `adopt`: whatever goes wrong once the old server was stopped, the way back is taken and told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.adoption import readable, transaction
from mlflow_provision.agent.adoption.move import INVENTORY
from mlflow_provision.agent.http import Client
from mlflow_provision.agent.protocol import CHANGED, FAILED, OK, AgentError, Event, Result
from mlflow_provision.agent.resources import to_json
from mlflow_provision.agent.resources.adopted_data import AdoptedData

BEFORE = {
    "experiments": {"0": "Default", "1": "one"},
    "runs": {"r1": [2, 1], "r2": [0, 0]},
    "models": ["churn"],
    "artifacts": {"r1": {"a/b.txt": 3}},
    "files": {"r1/a/b.txt": "sum of b"},
}
COPIED = {"1/r1/artifacts/a/b.txt": [3, "sum of b", 0]}


class Adoption:
    """A host on which every part of an adoption is played, and can fail."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        strings = [one.name for one in fields(AdoptedData) if one.name not in ("id", "old", "base")]
        empty: dict[str, Any] = dict.fromkeys(strings, "")
        self.data = AdoptedData(id="adopted-data", old={"tree": "/old", "unit": ""}, base=str(base), **empty)
        self.events: list[Event] = []
        self.now: dict[str, Any] = {**BEFORE, "runs": dict(BEFORE["runs"])}  # type: ignore[call-overload]
        self.sums = {"r1/a/b.txt": "sum of b", "1/r1/artifacts/a/b.txt": "sum of b"}
        self.checks = [{"title": "is healthy", "verdict": OK, "summary": ""}]
        self.applying: Callable[[], None] = self.moved
        self.rolled_back = 0
        self.way_back: Callable[[], str] = lambda: "the old server runs again as before"
        monkeypatch.setattr(transaction, "apply", lambda resources, emit, stopping: self._apply())
        monkeypatch.setattr(transaction, "roll_back", lambda data: self._roll_back())
        monkeypatch.setattr(
            "mlflow_provision.agent.verify.verify", lambda request, emit, stopping: {"checks": self.checks}
        )
        monkeypatch.setattr(readable, "readable", lambda client, stopping: self.now)
        monkeypatch.setattr(readable, "artifacts", lambda client, run: self.now["artifacts"].get(run, {}))
        monkeypatch.setattr(readable, "artifact_sha256", lambda client, run, path: self.sums.get(f"{run}/{path}", ""))
        monkeypatch.setattr(readable, "copied_sha256", lambda client, relative: self.sums.get(relative, ""))

    def moved(self) -> None:
        """What the resources do: the old server is stopped, its data is ours."""
        self.data.journal.keep(INVENTORY, {"before": BEFORE, "copied": COPIED, "counts": {"runs": 2, "artifacts": 1}})
        self.data.journal.write("starting", old=self.data.old, served=True, was={"active": True, "enabled": True})

    def run(self) -> dict[str, Any]:
        request = {"resources": [to_json(self.data)], "verify": {"url": "", "username": "", "password": ""}}
        return transaction.adopt(request, self.events.append, lambda: False)

    def fails(self) -> AgentError:
        with pytest.raises(AgentError) as failed:
            self.run()
        return failed.value

    def _apply(self) -> int:
        self.applying()
        return 7

    def _roll_back(self) -> str:
        self.rolled_back += 1
        said = self.way_back()
        self.data.journal.write("rolled-back")
        return said


@pytest.fixture
def adoption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adoption:
    return Adoption(tmp_path, monkeypatch)


def test_all_is_well(adoption: Adoption) -> None:
    answer = adoption.run()
    assert answer["changes"] == 7
    assert answer["adopted"] == {"runs": 2, "artifacts": 1}
    assert adoption.data.journal.phase == "adopted"
    assert adoption.rolled_back == 0
    compared = [event for event in adoption.events if isinstance(event, Result)]
    assert [(event.step, event.verdict) for event in compared] == [("compare", OK)]


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (lambda a: a.now["experiments"].pop("1"), "the experiment one"),
        (lambda a: a.now["runs"].pop("r2"), "the run r2"),
        (lambda a: a.now["runs"].update(r1=[1, 1]), "parameters or metrics of the run r1"),
        (lambda a: a.now.update(models=[]), "the model churn"),
        (lambda a: a.now.update(artifacts={"r1": {}}), "a/b.txt of the run r1"),
        (lambda a: a.now.update(artifacts={"r1": {"a/b.txt": 4}}), "a/b.txt of the run r1"),
        (lambda a: a.sums.pop("r1/a/b.txt"), "the bytes of a/b.txt of the run r1"),
        (lambda a: a.sums.pop("1/r1/artifacts/a/b.txt"), "the artifact 1/r1/artifacts/a/b.txt"),
        (lambda a: a.checks.append({"title": "x", "verdict": FAILED, "summary": "why"}), "x: why"),
    ],
)
def test_anything_that_is_missing_brings_the_old_one_back(
    adoption: Adoption, lose: Callable[[Adoption], object], said: str
) -> None:
    adoption.now["experiments"] = dict(adoption.now["experiments"])
    lose(adoption)
    error = adoption.fails()
    assert said in error.message
    assert "Nothing is lost: the old server runs again as before" in error.message
    assert error.hint
    assert adoption.rolled_back == 1
    last = adoption.events[-1]
    assert isinstance(last, Result)
    assert (last.step, last.verdict) == ("rollback", CHANGED)


def test_more_than_before_is_no_loss(adoption: Adoption) -> None:
    """Others go on working with ours while it is compared."""
    adoption.now["runs"].update(r3=[1, 1], r1=[3, 2])
    adoption.run()


@pytest.mark.parametrize("error", [AgentError("full", kind="disk"), OSError(28, "No space left"), KeyError("x")])
def test_a_failure_half_way(adoption: Adoption, error: Exception) -> None:
    def fail() -> None:
        adoption.data.journal.write("moving", old=adoption.data.old, was={}, served=False)
        raise error

    adoption.applying = fail
    told = adoption.fails()
    assert adoption.rolled_back == 1
    assert "Nothing is lost" in told.message
    assert "'x'" not in told.message  # what a bug quotes may be anything


def test_a_failure_before_it_was_stopped_undoes_nothing(adoption: Adoption) -> None:
    def fail() -> None:
        raise AgentError("no packages", "try again", "index")

    adoption.applying = fail
    told = adoption.fails()
    assert (told.message, told.kind, adoption.rolled_back) == ("no packages", "index", 0)


def test_a_way_back_that_fails_is_told_too(adoption: Adoption) -> None:
    def fail() -> str:
        raise AgentError("it does not start")

    adoption.now["runs"].clear()
    adoption.way_back = fail
    told = adoption.fails()
    assert "And the way back failed: it does not start" in told.message
    assert "run the same command again" in told.hint


@pytest.mark.parametrize(("phase", "times"), [("stopping", 1), ("moving", 1), ("rolling-back", 1), ("starting", 0)])
def test_what_was_interrupted_is_undone_first_or_goes_on(adoption: Adoption, phase: str, times: int) -> None:
    adoption.moved()
    adoption.data.journal.write(phase)
    adoption.run()
    assert adoption.rolled_back == times
    assert adoption.data.journal.phase == "adopted"


def test_only_what_was_not_served_needs_the_move_again(adoption: Adoption) -> None:
    from mlflow_provision.agent.resources import Context

    for phase, wanted in (("moving", True), ("rolled-back", True), ("starting", False), ("adopted", False)):
        adoption.data.journal.write(phase, old=adoption.data.old)
        assert (adoption.data.check(Context()) is not None) == wanted


def test_how_much_is_downloaded_is_bounded(adoption: Adoption, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def sha256(client: Client, relative: str) -> str:
        asked.append(relative)
        return "s"

    monkeypatch.setattr(readable, "copied_sha256", sha256)
    many = {f"{number:05}": [1, "s", 0] for number in range(5000)}
    assert readable.wrong_copies(Client(""), many, lambda: False) == ([], 1000)
    large = {"a": [900 << 20, "s", 0], "b": [900 << 20, "s", 0], "c": [1, "s", 0]}
    asked.clear()
    assert readable.wrong_copies(Client(""), large, lambda: False) == ([], 2)
    assert asked == ["a", "c"]


def test_how_much_is_listed_is_bounded(adoption: Adoption, monkeypatch: pytest.MonkeyPatch) -> None:
    many: dict[str, Any] = {"runs": {f"{number:04}": [0, 0] for number in range(1000)}}
    adoption.now["artifacts"] = {run: {"a": 1} for run in many["runs"]}
    found = readable.with_artifacts(Client(""), many, lambda: False)
    assert (len(found["artifacts"]), len(found["files"])) == (100, 20)
    monkeypatch.setattr(readable, "_LISTING", -1.0)
    assert readable.with_artifacts(Client(""), many, lambda: False)["artifacts"] == {}
