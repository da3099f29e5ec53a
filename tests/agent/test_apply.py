"""Plan and apply: in order, stopping between two steps, saying for each what became of it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mlflow_provision.agent.apply import apply, plan
from mlflow_provision.agent.protocol import AgentError, Event, Output, Result, Start
from mlflow_provision.agent.resources import Change, Context, Resource
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.record import Record
from mlflow_provision.agent.resources.symlink import Symlink
from tests.agent.converge import snapshot


def never() -> bool:
    return False


@dataclass
class Step:
    """A resource that does what the test says, and remembers what was done to it."""

    id: str
    change: str = "do it"
    checking: Callable[[Context], None] = lambda context: None
    applying: Callable[[Context], None] = lambda context: None
    done: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"step {self.id}"

    def check(self, context: Context) -> Change | None:
        self.done.append("check")
        self.checking(context)
        return Change(self.change, "a diff") if self.change else None

    def apply(self, context: Context) -> None:
        self.done.append("apply")
        self.applying(context)


def fail(error: Exception) -> Callable[[Context], None]:
    def raises(context: Context) -> None:
        raise error

    return raises


def short(events: list[Event]) -> list[str]:
    """Events in a form that reads well: `start a`, `a: a line`, `a changed`."""
    lines = {Start: "start {0.step}", Output: "{0.step}: {0.line}", Result: "{0.step} {0.verdict}"}
    return [lines[type(event)].format(event) for event in events]


def test_what_differs_is_applied_and_what_does_not_is_left() -> None:
    events: list[Event] = []
    steps = [Step("a"), Step("b", change=""), Step("c")]
    assert apply(steps, events.append, never) == 2
    assert [step.done for step in steps] == [["check", "apply"], ["check"], ["check", "apply"]]
    assert short(events) == ["start a", "a changed", "start b", "b ok", "start c", "c changed"]
    [first] = [event for event in events if isinstance(event, Result) and event.step == "a"]
    assert (first.title, first.summary, first.diff) == ("step a", "do it", "a diff")
    assert 0 <= first.seconds < 1


def test_a_plan_applies_nothing() -> None:
    events: list[Event] = []
    steps = [Step("a"), Step("b", change="")]
    assert plan(steps, events.append) == 1
    assert [step.done for step in steps] == [["check"], ["check"]]
    assert short(events) == ["a changed", "b ok"]


@pytest.mark.parametrize("run", [lambda steps: plan(steps, print), lambda steps: apply(steps, print, never)])
def test_a_step_knows_what_has_changed_before_it(run: Callable[[list[Step]], int]) -> None:
    seen: list[set[str]] = []
    steps = [Step("a"), Step("b", change=""), Step("c", checking=lambda context: seen.append(set(context.changed)))]
    run(steps)
    assert seen == [{"a"}]


def test_lines_of_a_step_carry_its_id() -> None:
    events: list[Event] = []
    apply([Step("a", applying=lambda context: context.output("half way"))], events.append, never)
    assert short(events) == ["start a", "a: half way", "a changed"]


@pytest.mark.parametrize("moment", ["checking", "applying"])
@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (AgentError("no such thing", "do that", "version"), "no such thing", "do that"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "step b: No space left on device: /x", "df -i /x"),
        (OSError(errno.EROFS, "Read-only", "/a b"), "step b: Read-only: /a b", "findmnt -T '/a b'"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), "step b: Is a directory: /x", "ls -ld /x"),
        (PermissionError(errno.EACCES, "Permission denied"), "step b: Permission denied", "sudo journalctl -n 50"),
        (TimeoutError("timed out"), "step b: timed out", "sudo journalctl -n 50"),
    ],
)
def test_a_failing_step_stops_the_rest_and_says_why(moment: str, error: Exception, message: str, hint: str) -> None:
    events: list[Event] = []
    steps = [Step("a"), Step("b", **{moment: fail(error)}), Step("c")]  # type: ignore[arg-type]
    with pytest.raises(AgentError) as caught:
        apply(steps, events.append, never)
    assert caught.value.message == message
    assert caught.value.hint.endswith(hint)
    assert steps[2].done == []
    assert short(events) == ["start a", "a changed", "start b", "b failed"]
    assert isinstance(events[-1], Result)
    assert events[-1].summary in message


@pytest.mark.parametrize("error", [AgentError("not ours", "move it"), PermissionError(errno.EACCES, "Denied", "/x")])
def test_a_plan_that_cannot_look_says_so(error: Exception) -> None:
    events: list[Event] = []
    steps = [Step("a", checking=fail(error)), Step("b")]
    with pytest.raises(AgentError) as caught:
        plan(steps, events.append)
    assert caught.value.message in ("not ours", "step a: Denied: /x")
    assert short(events) == ["a failed"]


def test_a_bug_is_not_dressed_up_as_a_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        apply([Step("a", applying=fail(ZeroDivisionError()))], print, never)


def test_it_stops_between_two_steps_when_asked() -> None:
    events: list[Event] = []
    steps = [Step("a"), Step("b"), Step("c")]
    with pytest.raises(AgentError) as caught:
        apply(steps, events.append, lambda: steps[1].done == ["check", "apply"])
    assert caught.value.kind == "interrupted"
    assert short(events) == ["start a", "a changed", "start b", "b changed"]
    assert steps[2].done == []


def test_a_step_can_see_that_it_should_stop() -> None:
    seen: list[bool] = []
    asked = iter([False, True, True])
    with pytest.raises(AgentError):
        step = Step("a", applying=lambda context: seen.append(context.stopping()))
        apply([step, Step("b")], print, lambda: next(asked))
    assert seen == [True]


@pytest.fixture
def resources(tmp_path: Path) -> list[Resource]:
    base = tmp_path / "base"
    return [
        Directory("base", str(base), 0o750),
        File("file", str(base / "file"), "text\n"),
        Symlink("link", str(base / "link"), "file"),
        Record("record", str(base / "record.json"), {"version": "1"}, "ada@laptop"),
    ]


def test_a_second_run_changes_nothing_and_writes_nothing(resources: list[Resource], tmp_path: Path) -> None:
    assert apply(resources, print, never) == 4
    before = snapshot(tmp_path, times=True)
    assert apply(resources, print, never) == 0
    assert snapshot(tmp_path, times=True) == before


def test_a_plan_touches_nothing(resources: list[Resource], tmp_path: Path) -> None:
    before = snapshot(tmp_path, times=True)
    assert plan(resources, print) == 4
    assert snapshot(tmp_path, times=True) == before
    apply(resources, print, never)
    (tmp_path / "base" / "file").write_text("drift\n")
    before = snapshot(tmp_path, times=True)
    assert plan(resources, print) == 2  # the file, and the record of it
    assert snapshot(tmp_path, times=True) == before


def test_what_the_plan_says_is_what_the_apply_does(resources: list[Resource], tmp_path: Path) -> None:
    for drift in ("", "base/link", "base/file", ""):
        (tmp_path / drift).unlink() if drift else None
        planned: list[Event] = []
        applied: list[Event] = []
        assert plan(resources, planned.append) == apply(resources, applied.append, never)
        done = [event for event in applied if isinstance(event, Result)]
        assert [(event.step, event.verdict) for event in done] == [
            (event.step, event.verdict) for event in planned if isinstance(event, Result)
        ]


def test_a_folder_that_is_missing_is_a_clear_message(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as caught:
        apply([File("file", str(tmp_path / "no" / "file"), "x")], print, never)
    assert "No such file or directory" in caught.value.message
    assert str(tmp_path / "no") in caught.value.message
