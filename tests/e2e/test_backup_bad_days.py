"""Bad days of backups: each is told, leaves nothing half, and the next backup is good and has cleaned up."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from mlflow_provision.aws.policy import policy
from tests.e2e.backed_up import BASE, BUCKET, STATE, BackedUp, Far, artifact, beside, changed
from tests.e2e.buckets import keys_of
from tests.e2e.served import NAME, Served
from tests.e2e.waiting import AGENT, until, until_no_agent
from tests.lab import Keys, MotoS3, RcloneS3
from tests.lab.s3 import LIKE_AWS

LARGE = 24 << 20  # bytes of an artifact: several parts of an upload


@pytest.fixture(scope="module")
def backed_up(set_up_once: Served, rclone_s3: RcloneS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackedUp]:
    found = beside(set_up_once, rclone_s3, tmp_path_factory.mktemp("home") / "operator")
    artifact(found.host, "0/run/artifacts/large.bin", secrets.token_bytes(LARGE))
    yield found
    found.host.run(["rm", "-r", f"{BASE}/data/artifacts/0"])


@pytest.fixture(scope="module")
def strict() -> Iterator[MotoS3]:
    with MotoS3(enforce_iam=True, program=LIKE_AWS) as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def far(rclone_s3: RcloneS3) -> Iterator[Far]:
    """The way to the store."""
    with way_to(rclone_s3.endpoint) as way:
        yield way


def way_to(endpoint: str) -> Far:
    address = urlsplit(endpoint)
    assert address.hostname and address.port
    return Far((address.hostname, address.port))


def now(*place: str) -> tuple[str, ...]:
    return ("backup", "now", NAME, "--no-verify", "--to", *place)


def good_again(backed_up: BackedUp, prefix: str, endpoint: str = "") -> None:
    """Whatever happened: the next backup is good, there is no other, and nothing lies about."""
    made = backed_up.back_up(*backed_up.to(prefix, endpoint))
    assert made["verified"]["level"] == "full"
    assert [backup["id"] for backup in backed_up.listed(*backed_up.to(prefix))] == [made["id"]]
    assert backed_up.litter(backed_up.folder(prefix)) == []
    uploads = backed_up.s3.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    assert [upload for upload in uploads if upload["Key"].startswith(f"{prefix}/")] == []


# The store


@pytest.mark.parametrize("missing", ["s3:PutObject", "s3:GetObject"])
def test_the_store_denies(backed_up: BackedUp, strict: MotoS3, missing: str) -> None:
    prefix = missing.partition(":")[2]
    allowed = policy(f"s3://{BUCKET}/{prefix}")
    allowed["Statement"][0]["Action"].remove(missing)
    backed_up.keys(strict.create_user(prefix, allowed))
    place = backed_up.to(prefix, strict.endpoint)
    said = backed_up.operator.refused("backup", "now", NAME, "--to", *place)
    backed_up.keys(backed_up.s3.keys)
    assert missing in said or "denied" in said.lower(), said
    assert f"s3://{BUCKET}/{prefix}" in said


def test_append_only_backups_are_made_and_never_deleted(backed_up: BackedUp, strict: MotoS3) -> None:
    """With the policy that is printed for them, and none but that."""
    operator, place = backed_up.operator, backed_up.to("kept", strict.endpoint)
    printed = operator.run("iam-policy", "--artifacts", "s3://models/ml", "--backups", place[0], "--append-only").stdout
    backed_up.keys(strict.create_user("appends", json.loads(printed)))
    try:
        made = [backed_up.back_up(*place)["id"] for _ in range(2)]
        assert [backup["id"] for backup in backed_up.listed(*place)] == made[::-1]
        objects = keys_of(strict.client(), BUCKET)
        file = operator.toml(NAME)
        keep = "[backup]\nkeep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\n"
        with changed(file, file.read_text().replace("[backup]\n", keep).encode()):
            said = operator.refused("backup", "prune", NAME, "--yes", "--from", *place)
        assert "s3:DeleteObject" in said
        assert keys_of(strict.client(), BUCKET) == objects
        assert len(backed_up.listed(*place)) == 2
    finally:
        backed_up.keys(backed_up.s3.keys)


def test_no_such_bucket_and_wrong_keys(backed_up: BackedUp, rclone_s3: RcloneS3) -> None:
    _, *way = backed_up.to("")
    said = backed_up.operator.refused(*now("s3://no-such-bucket/b", *way))
    assert "no-such-bucket" in said
    backed_up.keys(Keys(rclone_s3.key, "not-the-secret"))
    try:
        said = backed_up.operator.refused(*now(*backed_up.to("wrong-keys")))
    finally:
        backed_up.keys(rclone_s3.keys)
    assert "not-the-secret" not in "".join(backed_up.operator.shown)
    assert not backed_up.folder("wrong-keys").exists()


def test_a_connection_that_breaks_is_made_anew(backed_up: BackedUp, strict: MotoS3) -> None:
    """Not with rclone: it cannot take the same part of an upload twice."""
    backed_up.keys(strict.keys)
    try:
        with way_to(strict.endpoint) as far:
            far.cut_after(LARGE // 2)
            made = backed_up.back_up(*backed_up.to("broken", far.endpoint))
            assert made["verified"]["level"] == "full"
            assert far.passed > 2 * LARGE
    finally:
        backed_up.keys(backed_up.s3.keys)


def test_the_network_is_cut_in_the_middle_of_an_upload(backed_up: BackedUp, far: Far) -> None:
    """Neither the store nor the operator hears of the host any more."""
    before = backed_up.server()
    process = backed_up.operator.start(*now(*backed_up.to("cut", far.endpoint)))
    until_in_the_middle(far, process)
    backed_up.host.network.cut()
    try:
        out, err = process.communicate(timeout=90)
        until_no_agent(backed_up.host)  # it hears nothing of its operator, and gives up
    finally:
        backed_up.host.network.restore()
        far.delay = 0
    assert process.returncode == 3, out + err
    assert list(backed_up.folder("cut").glob("*/manifest.json")) == []
    assert backed_up.server() == before
    good_again(backed_up, "cut", far.endpoint)


# The host


def test_no_room_for_the_copy(backed_up: BackedUp) -> None:
    with small_disk(backed_up, STATE, "1m"):
        said = backed_up.operator.refused(*now(*backed_up.to("room")))
        assert "room" in said or "space" in said, said
    good_again(backed_up, "room")


def test_the_place_is_full(backed_up: BackedUp) -> None:
    """A folder on the host, on a disk of its own: no half object, and no half backup."""
    place = "/mnt/backups"
    with small_disk(backed_up, place, "8m"):
        said = backed_up.operator.refused(*now(place))
        assert "space" in said.lower() or "room" in said.lower(), said
        assert [path for path in backed_up.host.path(f"{place}/{NAME}").rglob("*") if path.is_file()] == []


def test_the_server_restarts_meanwhile(backed_up: BackedUp) -> None:
    backed_up.host.run(["systemctl", "kill", "--signal=KILL", f"mlflow-{NAME}"])  # leaves a journal that is in use
    good_again(backed_up, "restarts")
    backed_up.host.run(["systemctl", "restart", f"mlflow-{NAME}"])
    made = backed_up.back_up(*backed_up.to("restarts"))
    assert made["verified"]["level"] == "full"


@pytest.mark.parametrize("broken", [None, b"", b"no database at all, but long enough to be one\n" * 100])
def test_a_source_that_is_none_is_an_error(backed_up: BackedUp, broken: bytes | None) -> None:
    """Never an empty backup."""
    path = backed_up.host.path(f"{BASE}/data/basic_auth.db")
    aside = path.with_name("aside.db")
    path.rename(aside)
    try:
        if broken is not None:
            path.write_bytes(broken)
        said = backed_up.operator.refused(*now(*backed_up.to("none")))
    finally:
        aside.replace(path)
    assert "basic_auth.db" in said
    assert list(backed_up.folder("none").glob("*/manifest.json")) == []


# The run


def test_killed_at_every_step(backed_up: BackedUp, far: Far) -> None:
    """With SIGKILL, after every line that it prints: what is listed is whole, and the next backup cleans up."""
    far.delay = 0.05  # so that the blow falls before the next step has ended
    place, kills = backed_up.to("killed", far.endpoint), 0
    while killed_after(backed_up, place, kills + 1):
        kills += 1
        assert kills < 20
    assert kills >= 5
    far.delay = 0
    listed = backed_up.listed(*place)
    assert 1 <= len(listed) < kills  # from the manifest on, there is one
    for backup in listed:
        assert backed_up.operator.json("backup", "verify", backup["id"], NAME, "--from", *place)["ok"] is True
    assert backed_up.litter(backed_up.folder("killed")) == []


def test_killed_in_the_middle_of_an_upload(backed_up: BackedUp, far: Far) -> None:
    process = backed_up.operator.start(*now(*backed_up.to("upload", far.endpoint)))
    until_in_the_middle(far, process)
    backed_up.host.run(["pkill", "-9", "-f", AGENT])
    far.delay = 0
    process.communicate(timeout=60)
    until_no_agent(backed_up.host)
    assert backed_up.operator.json("backup", "list", NAME, "--from", *backed_up.to("upload"))["backups"] == []
    good_again(backed_up, "upload", far.endpoint)


def test_two_at_once(backed_up: BackedUp, far: Far) -> None:
    far.delay = 0.5
    place = backed_up.to("twice", far.endpoint)
    first = backed_up.operator.start(*now(*place))
    until_passed(far, 1, first)
    second = backed_up.operator.run(*now(*backed_up.to("twice")), code=5)
    assert "backup" in second.stderr and "wait" in second.stderr.lower()
    far.delay = 0
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, out + err
    assert len(backed_up.listed(*backed_up.to("twice"))) == 1


def test_ctrl_c_leaves_nothing(backed_up: BackedUp, far: Far) -> None:
    import signal

    far.delay = 0.5
    process = backed_up.operator.start(*now(*backed_up.to("ctrl-c", far.endpoint)))
    until_passed(far, 1, process)
    process.send_signal(signal.SIGINT)
    far.delay = 0
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    until_no_agent(backed_up.host)
    folder = backed_up.folder("ctrl-c")
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    good_again(backed_up, "ctrl-c", far.endpoint)


def killed_after(backed_up: BackedUp, place: tuple[str, ...], lines: int) -> bool:
    """Whether a backup was killed when it had told of so many steps; False when it was done before."""
    process = backed_up.operator.start(*now(*place))
    assert process.stdout
    told = 0
    for line in process.stdout:
        if told or "snapshot" in line:  # before that, the host is made ready, by another agent
            told += line.startswith(("changed ", "ok "))
        if told == lines:
            backed_up.host.run(["pkill", "-9", "-f", AGENT], check=False)
            break
    _, err = process.communicate(timeout=60)
    until_no_agent(backed_up.host)
    assert told, err
    return process.returncode != 0


@contextmanager
def small_disk(backed_up: BackedUp, path: str, size: str) -> Iterator[None]:
    """A folder of the host is a disk of its own."""
    host = backed_up.host
    host.run(["mkdir", "-p", path])
    owner = host.run(["stat", "-c", "uid=%u,gid=%g,mode=%a", path]).stdout.strip()
    with ExitStack() as ends:
        host.run(["mount", "-t", "tmpfs", "-o", f"size={size},{owner}", "tmpfs", path])
        ends.callback(host.run, ["umount", path])
        yield


def until_in_the_middle(far: Far, process: subprocess.Popen[str]) -> None:
    """Of the large artifact, which from then on does not get much further for a while."""
    until_passed(far, LARGE // 2, process)
    far.delay = 2


def until_passed(far: Far, size: int, process: subprocess.Popen[str]) -> None:
    until(lambda: far.passed >= size, lambda: f"{far.passed} of {size} bytes", process=process, pause=0.002)


def agents(backed_up: BackedUp) -> subprocess.CompletedProcess[str]:
    return backed_up.host.run(["pgrep", "-f", AGENT], check=False)
