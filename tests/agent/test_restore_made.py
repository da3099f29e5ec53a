"""Backups as `make` writes them, restored: with artifacts, and encrypted."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mlflow_provision.agent.backup.make import make
from mlflow_provision.agent.backup.settings import settings
from mlflow_provision.agent.protocol import AgentError
from tests.agent.restoring import Site, play
from tests.agent.site_databases import runs_of, users_of


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A running server with artifacts of its own."""
    made = Site(tmp_path / "server").make()
    play(made, monkeypatch.setattr)
    made.artifacts = str(made.data / "artifacts")
    for name, content in (("1/a/model.bin", "model"), ("1/a/notes.txt", "then"), ("1/b/plot.png", "plot")):
        path = made.data / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return made


def back_up(site: Site, **changed: Any) -> str:
    request = site.request()
    request["settings"].update(changed)
    made = make(settings(request), "by hand", True, site.events.append, lambda: False)
    return str(made["backup"]["id"])


def work_on(site: Site) -> None:
    """What people do after a backup."""
    with closing(sqlite3.connect(site.tracking)) as connection:
        connection.execute("INSERT INTO runs VALUES ('later', 1, NULL)")
        connection.commit()
    artifacts = site.data / "artifacts"
    (artifacts / "1/a/model.bin").unlink()
    (artifacts / "1/a/notes.txt").write_text("now")
    (artifacts / "1/c").mkdir()
    (artifacts / "1/c/new.txt").write_text("new")


def test_there_and_back_again(site: Site) -> None:
    """The safety backup is the way back from a restore that nobody should have made."""
    then = back_up(site)
    work_on(site)
    answer = site.run(id=then, safety=True)
    assert runs_of(site.tracking) == ["now-1", "now-2", "now-3"]
    site.run(id=answer["safety"])
    assert runs_of(site.tracking) == ["later", "now-1", "now-2", "now-3"]
    assert users_of(site.users) == ["ada", "admin"]
    assert "of-now" in site.secrets.read_text()


def test_artifacts_come_back_and_nothing_that_is_there_is_lost(site: Site) -> None:
    then = back_up(site)
    work_on(site)
    answer = site.run(id=then)
    artifacts = site.data / "artifacts"
    assert (artifacts / "1/a/model.bin").read_text() == "model"
    assert (artifacts / "1/a/notes.txt").read_text() == "then"
    assert (artifacts / "1/c/new.txt").read_text() == "new"
    assert Path(answer["artifacts"]["folder"], "1/a/notes.txt").read_text() == "now"
    assert (answer["artifacts"]["written"], answer["artifacts"]["equal"]) == (2, 1)


def test_artifacts_can_stay_as_they_are(site: Site) -> None:
    then = back_up(site)
    work_on(site)
    answer = site.run(id=then, artifacts=False)
    assert answer["artifacts"] == {}
    assert not (site.data / "artifacts/1/a/model.bin").exists()
    assert runs_of(site.tracking) == ["now-1", "now-2", "now-3"]


def test_a_lost_pack_ends_it_before_the_server_stops_and_says_how_to_go_on_without(site: Site) -> None:
    then = back_up(site)
    work_on(site)
    for pack in (site.store / "server" / "packs").iterdir():
        pack.unlink()
    with pytest.raises(AgentError) as lost:
        site.run(id=then)
    assert lost.value.kind == "damaged"
    assert "--no-artifacts" in lost.value.hint
    assert "later" in runs_of(site.tracking)
    assert site.running
    site.run(id=then, artifacts=False)
    assert "later" not in runs_of(site.tracking)


def test_encrypted_ones_need_their_key(site: Site) -> None:
    ours, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    encryption = {"recipient": str(ours.to_public()), "kdf": {}, "python": sys.executable}
    then = back_up(site, encryption=encryption)
    work_on(site)
    request = site.request()["settings"]
    for identity in ("", str(other)):
        with pytest.raises(AgentError) as refused:
            site.run(id=then, identity=identity, settings={**request, "encryption": encryption})
        assert refused.value.kind == "key"
        assert "later" in runs_of(site.tracking)
        assert not (site.data / ".restore").exists()
    site.run(id=then, identity=str(ours), settings={**request, "encryption": encryption})
    assert "later" not in runs_of(site.tracking)
    assert str(ours) not in repr(site.events)
