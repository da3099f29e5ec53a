"""What was deleted goes for good: what of it, what stays and why, and that nothing is lost sight of half-way."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.protocol import CHANGED, AgentError, Event, Output, Start
from tests.agent.collecting_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "root")


def why(answer: dict[str, Any]) -> dict[str, str]:
    return {kept["id"]: kept["why"] for kept in answer["kept"]}


class TestWhatGoes:
    def test_what_was_deleted_long_enough_ago_and_nothing_else(self, site: Site) -> None:
        site.experiment(1)
        old, young, alive = site.run("a", deleted_days=40), site.run("b", deleted_days=20), site.run("c")
        model, kept_model = site.model("d", deleted_days=31), site.model("e")
        report = site.look()
        assert report["totals"] == {"experiments": 0, "runs": 1, "models": 1, "traces": 0, "files": 4, "bytes": 40}
        assert report["young"] == 1 and report["kept"] == [] and report["orphans"] is None
        assert len(site.there()) == 5, "a look changes nothing"
        answer = site.collect()
        assert answer["removed"]["runs"] == answer["removed"]["models"] == 1
        assert (answer["removed"]["files"], answer["removed"]["bytes"]) == (4, 40)
        assert site.ids("runs") == sorted([young, alive]) and site.ids("logged_models") == [kept_model]
        assert site.there() == sorted([f"1/{young}", f"1/{alive}", f"1/models/{kept_model}"])
        assert not (site.artifacts / "1" / old).exists() and not (site.artifacts / "1/models" / model).exists()
        assert site.look()["totals"]["runs"] == 0

    def test_a_run_whose_deletion_was_not_noted_counts_since_its_end(self, site: Site) -> None:
        site.experiment(1)
        old = site.run("a", deleted_days=1)
        site.sql("UPDATE runs SET deleted_time = NULL")
        site.collect()
        assert old not in site.ids("runs")

    def test_a_deleted_experiment_goes_with_all_that_is_in_it(self, site: Site) -> None:
        site.experiment(1)
        site.experiment(2, deleted_days=40)
        mine = site.run("a")
        site.run("b", 2, deleted_days=40)
        site.model("c", 2)
        site.trace("d", 2)
        trace = site.trace("e", 1)
        site.write("2/traces/tr-" + "f" * 32 + "/artifacts")
        report = site.look()
        assert [(one["id"], one["whole"], one["traces"]) for one in report["experiments"]] == [("2", True, 1)]
        answer = site.collect()
        assert {key: answer["removed"][key] for key in ("experiments", "runs", "models", "traces", "files")} == {
            "experiments": 1,
            "runs": 1,
            "models": 1,
            "traces": 1,
            "files": 5,
        }
        assert site.ids("experiments") == [1] and site.ids("trace_info") == [trace]
        foreign = "2/traces/tr-" + "f" * 32
        assert site.there() == sorted([f"1/{mine}", f"1/traces/{trace}", foreign]), "what no row knows is not touched"

    def test_permissions_go_with_their_experiment(self, site: Site) -> None:
        site.experiment(2, deleted_days=40)
        with closing(sqlite3.connect(site.users)) as users:
            users.executemany("INSERT INTO experiment_permissions VALUES (?, 1)", [("2",), ("22",)])
            grants = [("experiment", "2"), ("experiment", "22"), ("scorer", "2/x"), ("registered_model", "2")]
            users.executemany("INSERT INTO role_permissions VALUES (?, ?)", grants)
            users.commit()
        site.collect()
        with closing(sqlite3.connect(site.users)) as users:
            assert users.execute("SELECT experiment_id FROM experiment_permissions").fetchall() == [("22",)]
            left = users.execute("SELECT * FROM role_permissions").fetchall()
        assert left == [("experiment", "22"), ("registered_model", "2")]

    def test_no_later_deletion_than_the_report_told_of(self, site: Site) -> None:
        site.experiment(1)
        site.run("a", deleted_days=2)
        before = site.look(days=1)["before"]
        later = site.run("b", deleted_days=0)
        site.collect(days=0, before=before)
        assert site.ids("runs") == [later]


class TestWhatStays:
    @pytest.mark.parametrize("form", ["{uri}/model", "models:/{id}", "runs:/{id}/model"])
    def test_what_a_registered_model_is_made_of(self, site: Site, form: str) -> None:
        site.experiment(1)
        run, model = site.run("a", deleted_days=40), site.model("b", deleted_days=40)
        for id, uri in ((run, f"mlflow-artifacts:/1/{run}/artifacts"), (model, f"mlflow-artifacts:/1/models/{model}")):
            site.registered(form.format(id=id, uri=uri))
        answer = site.collect()
        assert site.ids("runs") == [run] and site.ids("logged_models") == [model] and len(site.there()) == 2
        assert "version 3 of the registered model churn" in why(answer)[run]
        site.sql("UPDATE model_versions SET current_stage = 'Deleted_Internal'")
        site.collect()
        assert site.ids("runs") == [] and site.there() == []

    def test_an_experiment_around_something_that_stays(self, site: Site) -> None:
        site.experiment(2, deleted_days=40)
        run, goes = site.run("a", 2, deleted_days=40), site.run("b", 2, deleted_days=40)
        model, trace = site.model("c", 2), site.trace("d", 2)
        site.registered(f"mlflow-artifacts:/2/{run}/artifacts/model")
        answer = site.collect()
        assert answer["removed"]["runs"] == 1 and goes not in site.ids("runs")
        assert site.there() == sorted([f"2/{run}", f"2/models/{model}", f"2/traces/{trace}"])

    def test_an_experiment_in_which_a_run_was_restored(self, site: Site) -> None:
        site.experiment(2, deleted_days=40)
        site.run("a", 2)
        assert "restored" in why(site.collect())["2"]
        assert site.ids("experiments") == [2] and len(site.ids("runs")) == 1

    def test_an_experiment_in_which_something_was_deleted_of_late(self, site: Site) -> None:
        site.experiment(2, deleted_days=40)
        site.run("a", 2, deleted_days=2)
        assert site.collect()["removed"]["experiments"] == 0 and site.ids("experiments") == [2]

    def test_an_experiment_whose_traces_are_archived_elsewhere(self, site: Site) -> None:
        site.experiment(2, deleted_days=40)
        trace = site.trace("a", 2)
        site.sql("INSERT INTO trace_tags VALUES (?, 'mlflow.trace.archiveLocation', 's3://archive/x')", trace)
        assert "s3://archive/x" in why(site.collect())["2"]

    @pytest.mark.parametrize(
        ("uri", "words"),
        [
            ("s3://other/1/{id}/artifacts", "no keys"),
            ("gs://other/1/{id}/artifacts", "cannot be reached|none that we can reach"),
            ("/nowhere/at/all/1/{id}/artifacts", "can see on this host"),
            ("file:///nowhere/1/{id}/artifacts", "can see on this host"),
            ("./mlruns/1/{id}/artifacts", "no plain path"),
            ("mlflow-artifacts:/1/{id}", "does not end in its own name"),
            ("mlflow-artifacts:/1/shared/artifacts", "does not end in its own name"),
            ("mlflow-artifacts:/1/../2/{id}/artifacts", "no plain path"),
            ("mlflow-artifacts:/%2e%2e/{id}/artifacts", "no plain path"),
            ("mlflow-artifacts://host:5000/1//{id}/artifacts", "no plain path"),
        ],
    )
    def test_what_is_not_in_a_folder_of_its_own_that_we_reach(self, site: Site, uri: str, words: str) -> None:
        site.experiment(1)
        run = site.run("a", deleted_days=40, uri=uri.format(id="a" * 32))
        site.write("shared/artifacts")
        answer = site.collect()
        told = why(answer)[run]
        assert any(word in told for word in words.split("|")), told
        assert site.ids("runs") == [run] and len(site.there()) == 2

    def test_what_was_restored_while_others_were_removed(self, site: Site) -> None:
        site.experiment(1)
        run = site.run("a", deleted_days=40)

        def restore(event: Event) -> None:
            if isinstance(event, Start) and event.step == "remove":
                site.sql("UPDATE runs SET lifecycle_stage = 'active'")

        site.on_event = restore
        answer = site.collect()
        assert why(answer)[run] == "was restored meanwhile" and site.there() == [f"1/{run}"]
        assert answer["removed"]["runs"] == 0

    def test_a_row_that_mlflow_cannot_remove(self, site: Site) -> None:
        site.experiment(2, deleted_days=40)
        bad, good = site.run("a", 2, deleted_days=40), site.run("b", 2, deleted_days=40)
        site.trouble(**{bad: "IntegrityError: FOREIGN KEY constraint failed"})
        answer = site.collect()
        assert "FOREIGN KEY" in why(answer)[bad] and site.ids("runs") == [bad] and good not in site.ids("runs")
        assert site.ids("experiments") == [2]
        site.trouble()
        assert site.collect()["removed"]["experiments"] == 1, "the next run finishes it"


class TestElsewhere:
    def test_a_local_folder_that_is_none_of_the_servers(self, site: Site, tmp_path: Path) -> None:
        site.experiment(1)
        uri = tmp_path / "mlruns/1" / ("a" * 32) / "artifacts"
        uri.mkdir(parents=True)
        (uri / "model").write_text("x")
        site.run("a", deleted_days=40, files=0, uri=str(uri))
        assert site.look()["totals"]["files"] == 1
        site.collect()
        assert site.ids("runs") == [] and not uri.parent.exists()
        assert (tmp_path / "mlruns/1").exists(), "what is around it is not ours"

    def test_a_link_is_removed_and_not_followed(self, site: Site, tmp_path: Path) -> None:
        site.experiment(1)
        run = site.run("a", deleted_days=40)
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").write_text("x")
        (site.artifacts / "1" / run / "artifacts" / "link").symlink_to(outside)
        site.collect()
        assert (outside / "precious").exists() and site.there() == []

    def test_a_link_in_the_place_of_a_run(self, site: Site, tmp_path: Path) -> None:
        site.experiment(1)
        run = site.run("a", deleted_days=40, files=0)
        (tmp_path / "outside" / "empty").mkdir(parents=True)
        (tmp_path / "outside" / "precious").write_text("x")
        shutil.rmtree(site.artifacts / "1" / run)
        (site.artifacts / "1" / run).symlink_to(tmp_path / "outside")
        assert site.collect()["removed"]["files"] == 0 and site.ids("runs") == []
        assert (tmp_path / "outside" / "empty").exists() and (tmp_path / "outside" / "precious").exists()
        assert not (site.artifacts / "1" / run).is_symlink()

    def test_a_folder_elsewhere_that_cannot_be_removed_keeps_its_run(
        self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.experiment(1)
        uri = tmp_path / "mlruns/1" / ("a" * 32) / "artifacts"
        uri.mkdir(parents=True)
        (uri / "model").write_text("x")
        foreign = site.run("a", deleted_days=40, files=0, uri=str(uri))
        site.run("b", deleted_days=40)
        unlink = os.unlink

        def refuse(path: str) -> None:
            if "mlruns" in path:
                raise PermissionError(13, "Permission denied", path)
            unlink(path)

        monkeypatch.setattr("mlflow_provision.agent.collection.places.folder.os.unlink", refuse)
        answer = site.collect()
        assert site.ids("runs") == [foreign] and "Permission denied" in why(answer)[foreign]

    def test_a_neighbour_whose_name_begins_alike(self, site: Site) -> None:
        site.experiment(1)
        run = site.run("a", deleted_days=40)
        site.write(f"1/{run}0/artifacts")
        site.collect()
        assert site.there() == [f"1/{run}0"]


class TestOnTheWay:
    def test_the_hosts_log_hears_once_what_has_gone(self, site: Site) -> None:
        site.experiment(1)
        site.run("a", deleted_days=40)
        site.collect()
        changed = [result for result in site.told() if result.verdict == CHANGED]
        assert [(result.title, result.summary) for result in changed] == [
            ("Removed from server", "1 run, 2 files of 20 B")
        ]
        site.events.clear()
        site.collect()
        assert not [result for result in site.told() if result.verdict == CHANGED]

    def test_interrupted_it_goes_on_the_next_time(self, site: Site) -> None:
        site.experiment(1)
        for digit in "0123456789abcdef":
            site.run(digit, deleted_days=40, files=3)

        def stop(event: Event) -> None:
            site.stop = site.stop or (isinstance(event, Output) and event.step == "remove" and "files" in event.line)

        site.on_event = stop
        with pytest.raises(AgentError) as error:
            site.collect()
        assert error.value.kind == "interrupted" and "goes on where it stopped" in error.value.hint
        assert "removed until then" in error.value.message
        left = site.ids("runs")
        assert left and all(f"1/{run}" not in site.there() or run in left for run in left)
        site.stop, site.on_event = False, lambda event: None
        site.collect()
        assert site.ids("runs") == [] and site.there() == []

    def test_nothing_goes_when_mlflow_cannot_start(self, site: Site) -> None:
        site.experiment(1)
        run = site.run("a", deleted_days=40)
        site.trouble(_="die")
        with pytest.raises(AgentError, match="schema is not the one of this MLflow"):
            site.collect()
        assert site.ids("runs") == [run] and site.there() == [f"1/{run}"], "and artifacts stay with them"

    def test_artifacts_that_cannot_be_removed_keep_their_run(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        site.experiment(1)
        run = site.run("a", deleted_days=40)

        def refuse(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr("mlflow_provision.agent.collection.places.folder.os.unlink", refuse)
        with pytest.raises(AgentError, match="Permission denied"):
            site.collect()
        assert site.ids("runs") == [run] and site.there() == [f"1/{run}"]

    @pytest.mark.parametrize("mark", ["restoring", "upgrading"])
    def test_not_while_databases_are_being_replaced(self, site: Site, mark: str) -> None:
        (site.base / "backup").mkdir()
        (site.base / "backup" / mark).touch()
        with pytest.raises(AgentError, match="half-way"):
            site.collect()

    def test_one_at_a_time(self, site: Site) -> None:
        site.experiment(1)
        site.run("a", deleted_days=40)
        told: list[str] = []

        def again(event: Event) -> None:
            if isinstance(event, Start) and event.step == "remove" and not told:
                told.append("")
                from mlflow_provision.agent.lock import held

                with pytest.raises(AgentError) as error, held(str(site.base / "gc" / "lock"), "", "gc"):
                    pass
                told.append(error.value.kind)

        site.on_event = again
        site.collect()
        assert told == ["", "locked"]

    def test_no_database(self, site: Site) -> None:
        shutil.move(site.tracking, f"{site.tracking}.away")
        with pytest.raises(AgentError, match="cannot be used"):
            site.look()
        assert not site.tracking.exists(), "none is made"
