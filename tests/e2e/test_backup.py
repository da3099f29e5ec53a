"""Backups of a server that is being used: complete, found to be damaged when they are, and kept as one said."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.backed_up import BASE, BUCKET, BackedUp, artifact, beside, changed, flipped, unpacked
from tests.e2e.hammer import Hammer, stored
from tests.e2e.served import NAME, Served
from tests.lab import RcloneS3

LARGE = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(scope="module")
def backed_up(set_up_once: Served, rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    """The server has some artifacts in its folder."""
    found = beside(set_up_once, rclone_s3, tmp_path_factory.mktemp("home") / "operator")
    artifact(found.host, "0/run/artifacts/model.bin", LARGE)
    artifact(found.host, "0/run/artifacts/größe & co.txt", b"precious")
    yield found
    found.host.run(["rm", "-r", f"{BASE}/data/artifacts/0"])


@pytest.fixture
def hammer(backed_up: BackedUp) -> Iterator[Hammer]:
    port = backed_up.operator.json("tunnel", NAME, "--background")["tunnel"]["port"]
    password = backed_up.operator.json("env", NAME)["environment"]["MLFLOW_TRACKING_PASSWORD"]
    with Hammer(port, password) as hammering:
        yield hammering
    backed_up.operator.run("tunnel", "--stop", NAME)


def test_everything_acknowledged_before_it_began_is_in_it(backed_up: BackedUp, hammer: Hammer, tmp_path: Path) -> None:
    """And a copy of the file, which is what people do instead, is broken or lacks some of it."""
    place = backed_up.to("proof")
    server = backed_up.server()
    hammer.wait(100)
    made = backed_up.back_up(*place)
    assert made["verified"]["level"] == "full"
    moments, copies = [], []
    for number in range(10):
        moments.append(time.time())
        copies.append(Path(shutil.copy(backed_up.host.path(f"{BASE}/data/mlflow.db"), tmp_path / f"copy-{number}.db")))
        hammer.wait(3)
    assert backed_up.server() == server
    backed_up.operator.run("backup", "download", made["id"], str(tmp_path), NAME, "--from", *place)
    there = stored(unpacked(tmp_path / NAME / made["id"] / "mlflow.db.gz", tmp_path))
    acknowledged = hammer.before(made["started"])
    assert len(acknowledged) > 100
    assert acknowledged - there == set()
    assert [copy for copy, moment in zip(copies, moments, strict=True) if lacks(copy, hammer.before(moment))] != []


def lacks(copy: Path, acknowledged: set[tuple[str, int]]) -> bool:
    try:
        return bool(acknowledged - stored(copy))
    except sqlite3.DatabaseError:
        return True


@pytest.fixture(scope="module")
def made(backed_up: BackedUp) -> Path:
    """The folder of a backup that nobody has touched."""
    id = str(backed_up.back_up(*backed_up.to("whole"))["id"])
    return backed_up.folder("whole") / id


def test_what_is_in_it(backed_up: BackedUp, made: Path, tmp_path: Path) -> None:
    (listed,) = backed_up.listed(*backed_up.to("whole"))
    assert (listed["id"], listed["deployment"], listed["reason"]) == (made.name, NAME, "by hand")
    assert listed["verified"]["level"] == "full" and listed["problem"] == ""
    assert listed["rows"]["basic_auth.db"]["users"] == 1
    assert listed["artifacts"] == {"files": 2, "bytes": len(LARGE) + len(b"precious")}
    manifest = json.loads((made / "manifest.json").read_text())["manifest"]
    assert [member["name"] for member in manifest["members"]] == [
        "mlflow.db",
        "basic_auth.db",
        "files.tar",
        "artifacts.jsonl",
    ]
    users = sqlite3.connect(unpacked(made / "basic_auth.db.gz", tmp_path))
    assert users.execute("SELECT username, is_admin FROM users").fetchall() == [("admin", 1)]
    with tarfile.open(made / "files.tar.gz") as files:
        assert sorted(Path(name).name for name in files.getnames()) == [
            "basic_auth.ini",
            "deployment.json",
            "deployment.toml",
            "secrets.env",
            "server.env",
        ]
        secrets = files.extractfile(next(name for name in files.getnames() if name.endswith("secrets.env")))
        assert secrets and secrets.read() == backed_up.host.path(f"{BASE}/etc/secrets.env").read_bytes()
    assert backed_up.litter(made.parent) == []
    assert "".join(backed_up.operator.shown).count(backed_up.s3.secret) == 0


def test_the_next_one_stores_only_what_is_new(backed_up: BackedUp) -> None:
    place = backed_up.to("again")
    backed_up.back_up(*place)
    packs = {path.name for path in (backed_up.folder("again") / "packs").iterdir()}
    artifact(backed_up.host, "0/run/artifacts/new.txt", b"new")
    second = backed_up.back_up(*place)
    (new,) = {path for path in (backed_up.folder("again") / "packs").iterdir() if path.name not in packs}
    with tarfile.open(new) as pack:
        assert len(pack.getmembers()) == 1
    assert second["artifacts"]["files"] == 3
    third = backed_up.back_up(*place, options=("--no-artifacts",))
    assert third["artifacts"] is None
    assert [backup["id"] for backup in backed_up.listed(*place)][:2] == [third["id"], second["id"]]
    backed_up.host.run(["rm", f"{BASE}/data/artifacts/0/run/artifacts/new.txt"])


def refused(backed_up: BackedUp, id: str, prefix: str = "whole") -> str:
    """What a verification says of a damaged backup."""
    said = backed_up.operator.refused("backup", "verify", id, NAME, "--from", *backed_up.to(prefix))
    assert "damaged" in said, said
    return said


def test_a_bit_flipped_in_any_object_is_found(backed_up: BackedUp, made: Path) -> None:
    objects = [path for path in made.iterdir() if path.name != "verified.json"]
    objects += (made.parent / "packs").iterdir()
    assert len(objects) >= 6
    for path in objects:
        with changed(path, flipped(path.read_bytes())):
            assert path.name.partition(".")[0] in refused(backed_up, made.name), path
    (listed,) = backed_up.listed(*backed_up.to("whole"))
    assert listed["problem"] and listed["verified"] is None  # as the last verification found it
    backed_up.operator.run("backup", "verify", made.name, NAME, "--from", *backed_up.to("whole"))
    assert backed_up.listed(*backed_up.to("whole"))[0]["verified"]["level"] == "full"
    mark = made / "verified.json"
    with changed(mark, flipped(mark.read_bytes()[:40])):
        assert backed_up.listed(*backed_up.to("whole"))[0]["verified"] is None


def edited(content: bytes) -> bytes:
    """A manifest that somebody has edited by hand, to let a changed database pass."""
    document = json.loads(content)
    document["manifest"]["members"][0]["size"] += 1
    return json.dumps(document).encode()


def other_rows(content: bytes) -> bytes:
    """Another database in the place of the right one, well compressed."""
    return gzip.compress(gzip.decompress(content) + b"x")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mlflow.db.gz", lambda content: content[:-1]),
        ("mlflow.db.gz", lambda content: content + b"\0"),
        ("mlflow.db.gz", other_rows),
        ("basic_auth.db.gz", lambda content: b""),
        ("manifest.json", edited),
        ("manifest.json", lambda content: content[: len(content) // 2]),
    ],
    ids=["truncated", "longer", "exchanged", "emptied", "edited manifest", "truncated manifest"],
)
def test_what_was_changed_is_found(
    backed_up: BackedUp, made: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    path = made / name
    with changed(path, change(path.read_bytes())):
        assert name in refused(backed_up, made.name)
        assert backed_up.listed(*backed_up.to("whole"))[0]["problem"]


def test_an_object_that_is_gone_is_missed(backed_up: BackedUp, made: Path) -> None:
    client, key = backed_up.s3.client(), f"whole/{NAME}/{made.name}/files.tar.gz"
    content = (made / "files.tar.gz").read_bytes()
    client.delete_object(Bucket=BUCKET, Key=key)
    try:
        assert "files.tar.gz" in refused(backed_up, made.name)
    finally:
        client.put_object(Bucket=BUCKET, Key=key, Body=content)


def test_what_is_kept_and_why(backed_up: BackedUp) -> None:
    """By the policy of the deployment file; a backup that is damaged takes nobody's place."""
    place = backed_up.to("pruned")
    ids = [backed_up.back_up(*place, options=("--no-verify",))["id"] for _ in range(3)]
    store = backed_up.folder("pruned")
    file = backed_up.operator.toml(NAME)
    policy = "\n".join(f"keep_{word} = {number}" for word, number in (("last", 2), ("daily", 0), ("weekly", 0)))
    assert "[backup]" in file.read_text()
    with changed(file, file.read_text().replace("[backup]\n", f"[backup]\n{policy}\n").encode()):
        prune = ("backup", "prune", NAME, "--from", *place)
        decisions = backed_up.operator.json(*prune, "--dry-run")["prune"]["decisions"]
        assert [(one["id"], one["keep"]) for one in decisions] == [(id, id in ids[1:]) for id in reversed(ids)]
        assert all(one["reasons"] for one in decisions)
        assert len(list(store.glob("*/manifest.json"))) == 3
        newest = store / ids[2] / "manifest.json"
        with changed(newest, b"{}"):
            assert backed_up.operator.json(*prune, "--yes")["prune"]["removed"] == []
        assert backed_up.operator.json(*prune, "--yes")["prune"]["removed"] == ids[:1]
        left = [backup["id"] for backup in backed_up.listed(*place)]
    assert left == [ids[2], ids[1]]
    assert backed_up.operator.json("backup", "verify", ids[1], NAME, "--from", *place)["ok"] is True
    assert backed_up.litter(store) == []


def test_places_that_are_folders(backed_up: BackedUp) -> None:
    """On the operator's machine, where everything comes over the connection, and on the host."""
    on_host = f"/var/backups/{NAME}"
    for place, folder in (
        ("operator:~/mine", backed_up.operator.home / "mine"),
        (on_host, backed_up.host.path(on_host)),
    ):
        made = backed_up.back_up(place)
        assert made["verified"]["level"] == "full"
        assert [backup["id"] for backup in backed_up.listed(place)] == [made["id"]]
        assert backed_up.litter(folder / NAME) == []
        manifest = folder / NAME / made["id"] / "manifest.json"
        assert manifest.stat().st_mode & 0o077 == 0
    with_id = backed_up.operator.json("backup", "download", "latest", "got", NAME, "--from", on_host)["downloaded"]
    assert backed_up.operator.json("backup", "verify", NAME, "--from", with_id["place"])["ok"] is True
    backed_up.host.run(["rm", "-r", on_host])


PASSPHRASE = "correct-horse-battery-staple"


def test_a_passphrase_and_a_wrong_one(backed_up: BackedUp) -> None:
    place = backed_up.to("secret")
    file = backed_up.operator.toml(NAME)
    variables = backed_up.operator.variables
    with changed(file, file.read_text().replace("[backup]\n", '[backup]\nencryption = "passphrase"\n').encode()):
        variables["MLFLOW_PROVISION_BACKUP_PASSPHRASE"] = PASSPHRASE
        made = backed_up.back_up(*place)
    folder = backed_up.folder("secret")
    plain = [path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".age"]
    assert sorted(plain) == ["manifest.json", "verified.json"]
    assert made["verified"]["level"] == "full" and made["encryption"]["kdf"]["name"] == "scrypt"
    verify = ("backup", "verify", NAME, "--from", *place)
    variables["MLFLOW_PROVISION_BACKUP_PASSPHRASE"] = "wrong-horse-battery-staple"
    said = backed_up.operator.run(*verify, code=None)
    assert "can be restored" not in said.stdout  # only with the right one is anything looked at
    variables.pop("MLFLOW_PROVISION_BACKUP_PASSPHRASE")
    assert backed_up.operator.json(*verify)["verified"]["level"] == "sums"
    path = next(folder.glob("*/mlflow.db.gz.age"))
    with changed(path, flipped(path.read_bytes())):
        assert path.name in refused(backed_up, made["id"], "secret")
    found = backed_up.host.run(["grep", "-rlF", "-e", PASSPHRASE, "/opt/mlflow", "/etc", "/var", "/tmp"], check=False)
    assert found.stdout == ""
    assert PASSPHRASE not in "".join(backed_up.operator.shown)
