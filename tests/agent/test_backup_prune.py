"""What no rule keeps is removed, in an order that may end anywhere; what others are just writing is not touched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.backup import prune as pruning
from mlflow_provision.agent.backup.listing import listed
from mlflow_provision.agent.backup.manifest import NAME, VERIFIED, Manifest, Member, encode
from mlflow_provision.agent.backup.prune import prune
from mlflow_provision.agent.backup.settings import Encryption, Keep, Place, Settings, Source
from mlflow_provision.agent.backup.stores.base import KIND
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.protocol import AgentError, Event, Result

DAY = 86400.0
NOW = time.time()


def never() -> bool:
    return False


@dataclass
class Backups:
    """A store whose objects are as old as a test wants them to be."""

    base: Path
    keep: Keep = field(default_factory=lambda: Keep(last=1))
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = FolderStore(str(self.base))

    def put(self, key: str, age: float, content: bytes = b"12345") -> Member:
        """An object, so many days old."""
        with self.store.put(key) as writer:
            writer.write(content)
        os.utime(self.base / key, (NOW - age * DAY, NOW - age * DAY))
        return Member(key, key, len(content), "", len(content), "")

    def pack(self, number: int, age: float) -> Member:
        return self.put(f"packs/{number:024x}.tar.gz", age)

    def backup(self, number: int, age: float, packs: Sequence[Member] = (), manifest: bool = True) -> str:
        id = f"20261121T15300{number}Z-{number:06x}"
        database = self.put(f"{id}/mlflow.db.gz", age)
        self.put(f"{id}/{VERIFIED}", age)
        made = Manifest(
            id,
            number,
            "server",
            "h",
            "",
            NOW - age * DAY,
            1,
            "1",
            "3",
            "3",
            "3",
            (database,),
            {},
            {},
            tuple(packs),
            None,
        )
        if manifest:
            self.put(f"{id}/{NAME}", age, encode(made))
        return id

    def prune(self, dry_run: bool = False, stopping: Callable[[], bool] = never) -> dict[str, Any]:
        source = Source("server", {}, {}, "", "")
        settings = Settings("", "", source, Place(str(self.base)), Encryption(), self.keep, "1")
        return prune(settings, self.store, dry_run, self.told.append, stopping)

    def objects(self) -> set[str]:
        return {entry.key for entry in self.store.list()}

    def ids(self) -> list[str]:
        return [backup.id for backup in listed(self.store)]


@pytest.fixture
def place(tmp_path: Path) -> Backups:
    return Backups(tmp_path / "place" / "server")


def test_what_no_rule_keeps_goes_with_the_packs_that_only_it_names(place: Backups) -> None:
    shared, old, new = place.pack(1, 9), place.pack(2, 9), place.pack(3, 1.5)
    first = place.backup(1, 9, [shared, old])
    second = place.backup(2, 0, [shared, new])
    before = place.objects()
    would = place.prune(dry_run=True)
    assert place.objects() == before
    assert place.told == []
    done = place.prune()
    assert done == would
    assert done["removed"] == [first]
    assert [(one["id"], one["keep"]) for one in done["decisions"]] == [(second, True), (first, False)]
    assert all(one["reasons"] for one in done["decisions"])
    assert place.objects() == {key for key in before if key.startswith(second)} | {shared.key, new.key}
    freed = sum(5 for key in before - place.objects() if not key.endswith(NAME))
    assert done["freed"] > freed  # the manifest is some hundreds of bytes
    results = [event for event in place.told if isinstance(event, Result)]
    assert [(event.verdict, event.summary) for event in results] == [
        ("changed", "1 deleted"),
        ("changed", "1 deleted, 5 B"),
    ]
    assert place.prune()["removed"] == []
    assert [event.verdict for event in place.told if isinstance(event, Result)] == ["changed", "changed", "ok", "ok"]


def test_an_empty_policy_is_refused_before_anything(place: Backups) -> None:
    place.backup(1, 9)
    place.keep = Keep()
    with pytest.raises(AgentError) as caught:
        place.prune()
    assert caught.value.kind == "policy"


def test_an_empty_place(place: Backups) -> None:
    assert place.prune() == {"decisions": [], "removed": [], "freed": 0}


def test_packs_of_a_backup_that_another_host_is_writing_stay(place: Backups) -> None:
    place.backup(1, 0)
    old, young = place.pack(1, 2), place.pack(2, 0.001)
    place.prune()
    assert young.key in place.objects()
    assert old.key not in place.objects()


def test_a_backup_made_while_we_prune_keeps_what_it_names(place: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = place.pack(1, 5)
    place.backup(1, 5, [pack])
    place.backup(2, 0)
    real = FolderStore.delete

    def delete(self: FolderStore, keys: Sequence[str]) -> None:
        if len(place.ids()) == 2:
            place.backup(3, 0, [pack])
        real(self, keys)

    monkeypatch.setattr(FolderStore, "delete", delete)
    assert len(place.prune()["removed"]) == 1
    assert pack.key in place.objects()
    assert [backup.problem for backup in listed(place.store)] == ["", ""]


def test_what_has_no_manifest_goes_when_it_is_a_day_old(place: Backups) -> None:
    place.backup(1, 0)
    old = place.backup(2, 2, manifest=False)
    young = place.backup(3, 0.5, manifest=False)
    mixed = place.backup(4, 2, manifest=False)
    place.put(f"{mixed}/files.tar.gz", 0.1)  # still being written
    place.prune()
    left = {key.partition("/")[0] for key in place.objects()}
    assert old not in left
    assert {young, mixed} <= left


def test_what_is_not_ours_stays(place: Backups) -> None:
    place.backup(1, 0)
    strange = ["readme.txt", "photos/cat.jpg", "packs/cat.jpg", "packs/x/000000000000000000000001.tar.gz", "20261121/x"]
    for key in strange:
        place.put(key, 99)
    place.prune()
    assert set(strange) <= place.objects()


@pytest.mark.parametrize("ahead", [-400 * DAY, 400 * DAY])
def test_a_clock_that_is_wrong_here_deletes_nothing_that_is_young_there(
    place: Backups, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.backup(1, 0)
    young = place.pack(1, 0.5)
    monkeypatch.setattr(time, "time", lambda: NOW + ahead)
    place.prune()
    assert young.key in place.objects()


def test_an_object_from_the_future_makes_nothing_old(place: Backups) -> None:
    place.backup(1, -400)
    young = place.pack(1, 0.5)
    place.prune()
    assert young.key in place.objects()


@pytest.mark.parametrize("content", [b"", b"{}", b"nonsense", b'{"manifest": {"format": 99}}'])
def test_with_a_manifest_that_cannot_be_read_no_pack_goes_and_it_stays(place: Backups, content: bytes) -> None:
    pack = place.pack(1, 9)
    damaged = place.backup(1, 9, [pack])
    removed = place.backup(2, 8)
    place.backup(3, 0)
    place.put(f"{damaged}/{NAME}", 9, content)
    done = place.prune()
    assert done["removed"] == [removed]
    assert {pack.key, f"{damaged}/mlflow.db.gz"} <= place.objects()
    (reason,) = next(one["reasons"] for one in done["decisions"] if one["id"] == damaged)
    assert "cannot be read" in reason


def test_the_last_good_one_stays_although_newer_ones_are_there(place: Backups) -> None:
    good = place.backup(1, 9)
    for number, broken in ((2, "mlflow.db.gz"), (3, "mlflow.db.gz")):
        (place.base / place.backup(number, 5 - number) / broken).unlink()
    place.put("packs/" + "0" * 24 + ".tar.gz", 0)
    assert place.prune()["removed"] == []
    place.backup(4, 0)
    assert good in place.prune()["removed"]


@dataclass
class Killed(BaseException):
    """As good as kill -9."""


def test_killed_anywhere_it_leaves_no_half_backup_and_the_next_one_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, finished = FolderStore.delete, False
    for moment in range(30):
        place = Backups(tmp_path / str(moment))
        packs = [place.pack(number, 9) for number in range(5)]
        for number in range(4):
            place.backup(number + 1, 9 - number, packs[number : number + 2])
        left = [moment]

        def delete(self: FolderStore, keys: Sequence[str], left: list[int] = left) -> None:
            for key in keys:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                real(self, [key])

        with monkeypatch.context() as patch:
            patch.setattr(FolderStore, "delete", delete)
            try:
                place.prune()
                finished = True
            except Killed:
                pass
        assert [backup.problem for backup in listed(place.store)] == [""] * len(place.ids())
        place.put("packs/" + "f" * 24 + ".tar.gz", 0)  # it is now
        place.prune()
        assert len(place.objects()) == 3 + 2 + 1
        if finished:
            return
    pytest.fail("it never came to its end")


def test_where_we_may_only_add_it_says_so_and_removes_nothing(place: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    place.backup(1, 9)
    place.backup(2, 0)
    before = place.objects()

    def delete(self: FolderStore, keys: Sequence[str]) -> None:
        raise AgentError("s3:DeleteObject is denied", "see the policy", KIND)

    monkeypatch.setattr(FolderStore, "delete", delete)
    with pytest.raises(AgentError, match=r"cannot be deleted: s3:DeleteObject is denied") as caught:
        place.prune()
    assert "append_only" in caught.value.hint
    assert caught.value.hint.startswith("see the policy; ")
    assert place.objects() == before


def test_it_stops_when_asked(place: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_AT_ONCE", 1)
    for number in range(1, 6):
        place.backup(number, 9 - number)
    with pytest.raises(AgentError) as caught:
        place.prune(stopping=lambda: len(place.ids()) == 3)
    assert caught.value.kind == "interrupted"
    assert len(place.ids()) == 3
