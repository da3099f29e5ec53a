"""Artifacts of older servers come under the proxy: copied, rewritten, proved; or everything is as it was."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.moving import jobs
from mlflow_provision.agent.moving import serve as move
from mlflow_provision.agent.protocol import AgentError, Result
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from tests.agent.moving_site import MovingSite, served
from tests.agent.restoring import play


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MovingSite]:
    """A server with one experiment in a folder of an older one."""
    made = MovingSite(tmp_path / "server").make()
    play(made, monkeypatch.setattr)
    made.local()
    with served(made):
        yield made


def test_a_look_counts_and_changes_nothing(site: MovingSite) -> None:
    before = site.tracking.read_bytes()
    seen = site.ask("look")
    assert seen["rows"] == {"experiments": 1, "runs": 3, "logged_models": 1, "model_versions": 1, "trace_tags": 1}
    assert (seen["files"], seen["bytes"], seen["left"]) == (5, 7 + 1 + 5000 + 1 + 2, [])
    assert seen["sources"] == {str(site.old): 5}
    assert seen["bytes_left"] == seen["bytes"] and not seen["unfinished"]
    assert site.tracking.read_bytes() == before and not (site.base / "moves").exists()


def test_everything_is_copied_rewritten_and_proved(site: MovingSite) -> None:
    answer = site.ask("move")
    assert site.sql("SELECT artifact_location FROM experiments") == [("mlflow-artifacts:/5",)]
    assert site.place_of("r1") == "mlflow-artifacts:/5/r1/artifacts"
    assert site.place_of("r3") == "mlflow-artifacts:/5/r3/artifacts"  # it had no artifacts
    assert site.sql("SELECT artifact_location FROM logged_models") == [("mlflow-artifacts:/5/models/m-1/artifacts",)]
    version = ("mlflow-artifacts:/5/r1/artifacts/model", "models:/m-1")
    assert site.sql("SELECT source, storage_location FROM model_versions") == [version]
    tags = dict(site.sql("SELECT key, value FROM trace_tags"))
    assert tags["mlflow.artifactLocation"] == "mlflow-artifacts:/5/traces/tr-1/artifacts"
    assert tags["x"] == f"{site.old}/5/traces/tr-1/artifacts"  # somebody's own words
    assert (site.artifacts_folder / "5/r2/artifacts/ü b.txt").read_text() == "b" * 5000
    assert (site.old / "5/r2/artifacts/ü b.txt").exists()
    assert answer["files"] == 5 and answer["proof"]["files"] == 5 and answer["proof"]["units"] == 5
    assert site.running and answer["backup"] and answer["record"]
    assert not (site.base / "moves" / "journal.json").exists()
    assert site.ask("look")["rows"] == {}


def test_the_backup_is_made_and_read_back_before_anything_is_rewritten(site: MovingSite) -> None:
    site.ask("move")
    steps = [event.step for event in site.events if isinstance(event, Result)]
    assert steps.index("backup-manifest") < steps.index("rewrite") < steps.index("start") < steps.index("proof")
    assert any(step.startswith("verify") for step in steps[steps.index("backup-manifest") : steps.index("rewrite")])


def test_what_is_in_our_own_folder_is_only_renamed(site: MovingSite) -> None:
    site.experiment(7, f"{site.artifacts_folder}/7")
    site.run_at("r7", 7, f"file://{site.artifacts_folder}/7/r7/artifacts")
    site.run_at("odd", 7, f"{site.artifacts_folder}/shared/odd")
    (site.artifacts_folder / "7/r7/artifacts").mkdir(parents=True)
    (site.artifacts_folder / "7/r7/artifacts/x").write_text("x")
    seen = site.ask("look")
    assert seen["units"]["run"] == {"renamed": 2, "copied": 3} and seen["unprotected"] == 1
    site.ask("move")
    assert site.place_of("r7") == "mlflow-artifacts:/7/r7/artifacts"
    assert site.place_of("odd") == "mlflow-artifacts:/shared/odd"


def test_what_cannot_be_moved_is_told_and_stays(site: MovingSite) -> None:
    site.experiment(8, "gs://bucket/8")
    site.run_at("google", 8, "gs://bucket/8/r/artifacts")
    site.run_at("relative", 8, "./mlruns/8/r/artifacts")
    site.run_at("other", 8, "mlflow-artifacts://server:5000/8/r/artifacts")
    site.run_at("elsewhere", 8, "/Users/ana/mlruns/8/r/artifacts")
    site.run_at("ours", 8, f"{site.base}/etc")
    site.written("5/r2/artifacts/x", "").with_name("link").symlink_to("/etc/hostname")
    left = {one["why"]: one["count"] for one in site.ask("look")["left"]}
    site.written("model.pkl", "x")
    site.run_at("file", 5, f"{site.old}/model.pkl")
    left |= {one["why"]: one["count"] for one in site.ask("look")["left"]}
    assert sum("gs:" in why and count == 2 for why, count in left.items()) == 1
    for words in (
        "not absolute",
        "another server",
        "not on this host",
        "folder of the server itself",
        "is a link",
        "no folder of artifacts",
    ):
        assert sum(words in why for why in left) == 1, words
    site.ask("move")
    for run, place in (("google", "gs://bucket/8/r/artifacts"), ("elsewhere", "/Users/ana/mlruns/8/r/artifacts")):
        assert site.place_of(run) == place
    assert site.place_of("r2") == f"{site.old}/5/r2/artifacts"
    assert site.place_of("r1") == "mlflow-artifacts:/5/r1/artifacts"


def test_places_that_are_not_there_are_rewritten_when_that_is_wanted(site: MovingSite) -> None:
    site.run_at("elsewhere", 5, "/Users/ana/mlruns/5/r/artifacts")
    site.experiment(6, "/Users/ana/mlruns/6")
    site.ask("move", missing=True)
    assert site.sql("SELECT artifact_location FROM experiments WHERE experiment_id = 6") == [("mlflow-artifacts:/6",)]


def test_two_experiments_in_one_folder_get_places_of_their_own(site: MovingSite) -> None:
    """MLflow asks for permission on the experiment whose number a path begins with."""
    site.experiment(9, f"{site.old}/5")
    site.run_at("guest", 9, f"{site.old}/5/guest/artifacts")
    site.written("5/guest/artifacts/g", "g")
    site.ask("move")
    assert site.place_of("guest") == "mlflow-artifacts:/9/guest/artifacts"
    assert (site.artifacts_folder / "9/guest/artifacts/g").read_text() == "g"


def test_a_model_from_somewhere_else_gets_a_place_by_its_name(site: MovingSite) -> None:
    site.written("models/odd/x", "x")
    site.sql("INSERT INTO model_versions VALUES ('no run', 3, NULL, ?, ?)", *[f"{site.old}/models/odd"] * 2)
    site.ask("move")
    source, storage = site.sql("SELECT source, storage_location FROM model_versions WHERE version = 3")[0]
    assert source == storage and source.startswith("mlflow-artifacts:/registered/no_run-") and source.endswith("/3")
    assert (site.artifacts_folder / source.removeprefix("mlflow-artifacts:/") / "x").read_text() == "x"


class TestFailures:
    def as_it_was(self, site: MovingSite) -> None:
        assert site.place_of("r1") == f"{site.old}/5/r1/artifacts" and site.running
        assert site.sql("SELECT artifact_location FROM experiments") == [(f"file://{site.old}/5",)]
        assert not (site.base / "moves" / "journal.json").exists()

    def test_a_server_that_gives_other_bytes(self, site: MovingSite) -> None:
        site.lies.add("5/r1/artifacts/a.txt")
        with pytest.raises(AgentError, match=r"does not give back.*5/r1/artifacts/a.txt.*\nNothing is lost"):
            site.ask("move")
        self.as_it_was(site)

    def test_a_server_that_fails_its_verification(self, site: MovingSite) -> None:
        (site.base / "fails-verification").touch()
        with pytest.raises(AgentError, match="does not pass its verification"):
            site.ask("move")
        self.as_it_was(site)

    def test_a_server_that_does_not_start(self, site: MovingSite) -> None:
        (site.base / "sick").touch()
        with pytest.raises(AgentError, match="And the way back failed"):
            site.ask("move")
        assert site.place_of("r1") == f"{site.old}/5/r1/artifacts"
        (site.base / "sick").unlink()
        site.set_running(True)
        site.ask("move")
        assert site.place_of("r1") == "mlflow-artifacts:/5/r1/artifacts"

    def test_a_backup_that_fails_leaves_the_server_running(self, site: MovingSite) -> None:
        (site.store / "server").parent.mkdir(exist_ok=True)
        (site.store / "server").write_text("no folder")
        with pytest.raises(AgentError):
            site.ask("move")
        self.as_it_was(site)

    def test_other_contents_at_the_new_place_are_not_overwritten(self, site: MovingSite) -> None:
        there = site.artifacts_folder / "5/r1/artifacts/a.txt"
        there.parent.mkdir(parents=True)
        there.write_text("somebody's")
        with pytest.raises(AgentError, match="other contents"):
            site.ask("move")
        assert there.read_text() == "somebody's"
        self.as_it_was(site)

    def test_no_room(self, site: MovingSite, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs, "SPARE", 1 << 60)
        with pytest.raises(AgentError, match="not enough room"):
            site.ask("move")
        self.as_it_was(site)

    def test_killed_after_the_rewriting_somebody_goes_back(self, site: MovingSite) -> None:
        """The process that stands by: nobody else is there any more."""
        child = os.fork()
        if child == 0:
            mine, start = os.getpid(), BackgroundProcess.start

            def killed(self: BackgroundProcess, stopping: Callable[[], bool]) -> dict[str, Any]:
                if os.getpid() == mine:
                    os.kill(mine, signal.SIGKILL)
                return start(self, stopping)

            BackgroundProcess.start = killed  # type: ignore[method-assign]
            try:
                site.ask("move")
            finally:
                os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        deadline = time.monotonic() + 20
        while not site.running and time.monotonic() < deadline:
            time.sleep(0.05)
        self.as_it_was(site)

    def test_an_unproved_move_that_lost_its_power_is_undone_first(self, site: MovingSite) -> None:
        site.ask("move")
        (site.base / "moves" / "journal.json").write_text("{}")
        assert site.ask("look")["unfinished"]
        site.ask("move")
        undone = [event for event in site.events if isinstance(event, Result) and event.step == "undo"]
        assert undone[0].summary == "7 places as before"
        assert site.place_of("r1") == "mlflow-artifacts:/5/r1/artifacts"


class TestGoingOn:
    def test_who_stops_while_it_copies_has_changed_nothing_and_goes_on_later(self, site: MovingSite) -> None:
        for number in range(60):
            site.written(f"5/r1/artifacts/many/{number}", str(number))
        asked = itertools.count()
        request = site.asking("move")
        with pytest.raises(AgentError) as raised:
            move(request, "ada@laptop", site.events.append, lambda: next(asked) > 150)
        assert raised.value.kind == "interrupted"
        assert site.place_of("r1") == f"{site.old}/5/r1/artifacts" and site.running
        left = site.ask("look")["files_left"]
        assert 0 < left < 65
        site.ask("move")
        assert len(list((site.artifacts_folder / "5/r1/artifacts/many").iterdir())) == 60

    def test_what_was_copied_is_not_copied_again(self, site: MovingSite) -> None:
        site.lies.add("5/r1/artifacts/a.txt")
        with pytest.raises(AgentError):
            site.ask("move")
        copies = {path: path.stat().st_ino for path in site.artifacts_folder.rglob("*") if path.is_file()}
        site.written("5/r1/artifacts/a.txt", "changed")
        site.lies.clear()
        assert site.ask("look")["files_left"] == 1
        site.ask("move")
        again = {path: path.stat().st_ino for path in site.artifacts_folder.rglob("*") if path.is_file()}
        changed = [path.name for path in copies if copies[path] != again[path]]
        assert changed == ["a.txt"]
        assert (site.artifacts_folder / "5/r1/artifacts/a.txt").read_text() == "changed"


class TestOriginals:
    def test_they_go_when_that_is_asked(self, site: MovingSite) -> None:
        site.ask("move")
        (record,) = site.ask("look")["originals"]
        assert (record["files"], record["places"]) == (5, [str(site.old)])
        assert site.ask("delete") == {"files": 5, "bytes": 5011, "kept": 0, "why": {}}
        assert not list(site.old.rglob("*.txt")) and site.ask("look")["originals"] == []
        assert (site.artifacts_folder / "5/r1/artifacts/a.txt").read_text() == "a"

    def test_one_that_was_changed_stays_and_so_does_one_whose_copy_is_not_right(self, site: MovingSite) -> None:
        site.ask("move")
        site.written("5/r1/artifacts/a.txt", "longer")
        (site.artifacts_folder / "5/models/m-1/artifacts/weights.bin").write_text("W")
        (site.artifacts_folder / "5/traces/tr-1/artifacts/traces.json").unlink()
        answer = site.ask("delete")
        assert (answer["files"], answer["kept"]) == (2, 3) and len(answer["why"]) == 3
        assert (site.old / "5/models/m-1/artifacts/weights.bin").exists()
        assert site.ask("look")["originals"][0]["files"] == 3

    def test_a_place_that_the_database_names_again_stays(self, site: MovingSite) -> None:
        site.ask("move")
        site.sql("UPDATE runs SET artifact_uri = ? WHERE run_uuid = 'r1'", f"{site.old}/5/r1/artifacts")
        answer = site.ask("delete")
        assert answer["why"] == {"the database names this place again": 2} and answer["files"] == 3
        assert (site.old / "5/r1/artifacts/a.txt").exists()
