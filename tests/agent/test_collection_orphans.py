"""Folders of artifacts that belong to nothing: which they are, and when nobody can know."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from tests.agent.collecting_site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "root")
    site.experiment(1)
    return site


def named(digit: str) -> str:
    return digit * 32


def test_what_no_row_knows_and_is_called_as_mlflow_calls_it(site: Site) -> None:
    run, model, trace = site.run("a"), site.model("b"), site.trace("c", 1)
    orphans = [f"1/{named('1')}", f"1/models/m-{named('2')}", f"7/traces/tr-{named('3')}", f"7/traces/{named('4')}"]
    for folder in orphans:
        site.write(f"{folder}/artifacts")
    strange = ["1/plots", f"1/models/{named('5')}", f"team/{named('6')}", f"1/{named('7')}x", f"x/traces/{named('8')}"]
    for folder in strange:
        site.write(f"{folder}/artifacts")
    report = site.look(orphans=True)
    assert report["orphans"]["folders"] == 4 and report["orphans"]["known"] == 3
    assert (report["orphans"]["files"], report["orphans"]["bytes"]) == (8, 80)
    assert set(report["orphans"]["examples"]) == set(orphans)
    answer = site.collect(orphans=True)
    assert answer["removed"]["orphans"] == 4 and answer["removed"]["files"] == 8
    assert site.there() == sorted([f"1/{run}", f"1/models/{model}", f"1/traces/{trace}", *strange])
    assert not (site.artifacts / "7").exists(), "what is empty afterwards goes too"


def test_only_when_asked_for(site: Site) -> None:
    site.write(f"1/{named('1')}/artifacts")
    assert site.collect()["removed"]["orphans"] == 0 and len(site.there()) == 1


def test_what_is_younger_than_a_day_may_belong_to_a_row_that_comes(site: Site) -> None:
    site.write(f"1/{named('1')}/artifacts", days=2)
    site.write(f"1/{named('2')}/artifacts", days=2)
    site.write(f"1/{named('2')}/artifacts/late", files=1, days=0.5)
    report = site.look(orphans=True)
    assert report["orphans"]["examples"] == [f"1/{named('1')}"] and report["orphans"]["young"] == 1


def test_what_a_row_mentions_is_none(site: Site) -> None:
    site.registered(f"mlflow-artifacts:/1/{named('1')}/artifacts/model")
    site.write(f"1/{named('1')}/artifacts")
    site.run("a", uri=f"s3://elsewhere/{named('2')}/artifacts")
    site.write(f"1/{named('2')}/artifacts")
    assert site.look(orphans=True)["orphans"]["folders"] == 0


def test_a_deleted_run_is_no_orphan_however_young(site: Site) -> None:
    site.run("a", deleted_days=1)
    assert site.look(orphans=True)["orphans"]["folders"] == 0


def test_not_where_another_deployment_keeps_artifacts(site: Site) -> None:
    site.write(f"1/{named('1')}/artifacts")
    site.record("other", "/srv/other")
    assert site.look(orphans=True)["orphans"]["folders"] == 1
    for place in (str(site.artifacts), str(site.artifacts / "below"), str(site.artifacts.parent)):
        site.record("other", place)
        with pytest.raises(AgentError, match="the deployment other on this host keeps artifacts in"):
            site.collect(orphans=True)
    site.record("other", str(site.artifacts) + "-too")
    assert site.look(orphans=True)["orphans"]["folders"] == 1
    (site.root / "other" / "deployment.json").write_text("{")
    with pytest.raises(AgentError, match="cannot be read"):
        site.look(orphans=True)
    assert len(site.there()) == 1


def test_when_most_is_unknown_it_is_rather_somebody_elses(site: Site) -> None:
    for number in range(21):
        site.write(f"1/{number:032d}/artifacts", files=1)
    with pytest.raises(AgentError, match="does another server keep its artifacts here") as error:
        site.collect(orphans=True)
    assert "--sole-user" in error.value.hint and len(site.there()) == 21
    assert site.collect(orphans=True, sole_user=True)["removed"]["orphans"] == 21
