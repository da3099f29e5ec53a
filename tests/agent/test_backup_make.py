"""A backup is complete or is none: whatever ends it, and wherever, nothing half is listed and nothing of it stays."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pwd
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mlflow_provision.agent.backup import make as making
from mlflow_provision.agent.backup import serve, state, transfer
from mlflow_provision.agent.backup.listing import Listed
from mlflow_provision.agent.backup.make import make
from mlflow_provision.agent.backup.manifest import decode
from mlflow_provision.agent.backup.settings import Encryption
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.databases import snapshot
from mlflow_provision.agent.protocol import FAILED, AgentError, Done, Event, Output, Progress, Result, Start
from mlflow_provision.agent.protocol import decode as decode_event
from mlflow_provision.host.program import BOOTSTRAP, PYTHON_FLAGS, payload
from tests.agent.agent_process import AgentProcess
from tests.agent.backup_source import BackupSource, database
from tests.agent.converge import needs_root

IDENTITY = pyrage.x25519.Identity.generate()
TO_US = Encryption(recipient=str(IDENTITY.to_public()), kdf={"n": 1}, python=sys.executable)


@pytest.fixture
def source(tmp_path: Path) -> BackupSource:
    return BackupSource(tmp_path)


def content(source: BackupSource, key: str) -> bytes:
    return gzip.decompress(Path(source.store.title, key).read_bytes())


def whole(source: BackupSource) -> list[Listed]:
    """The backups, when everything in the store belongs to one of them and all of that is there."""
    found = source.listed()
    assert [backup.problem for backup in found] == [""] * len(found)
    named = {f"{backup.id}/manifest.json" for backup in found}
    for backup in found:
        assert backup.manifest
        named |= {member.key for member in (*backup.manifest.members, *backup.manifest.packs)}
    assert source.objects() == named
    return found


def remembered(source: BackupSource) -> set[str]:
    """What lies in the folder of the state, beside what belongs there."""
    return {path.name for path in source.state.iterdir()} - {"lock", "last.json", "artifacts.jsonl.gz"}


def test_everything_that_cannot_be_made_again_is_in_it(source: BackupSource) -> None:
    answer = source.back_up()
    (backup,) = whole(source)
    manifest = backup.manifest
    assert manifest
    assert {member.name for member in manifest.members} == {"mlflow.db", "basic_auth.db", "files.tar"}
    Path(source.state, "copy.db").write_bytes(content(source, f"{backup.id}/mlflow.db.gz"))
    with contextlib.closing(sqlite3.connect(source.state / "copy.db")) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone()[0] == 50
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    with tarfile.open(fileobj=io.BytesIO(content(source, f"{backup.id}/files.tar.gz"))) as archive:
        assert archive.getnames() == ["secrets.env", "server.env"]
        extracted = archive.extractfile("secrets.env")
        assert extracted
        assert extracted.read() == (source.etc / "secrets.env").read_bytes()
    assert (manifest.mlflow_version, manifest.python_version, manifest.tool_version) == ("3.17.2", "3.11.7", "0.9")
    assert manifest.schema == {"mlflow.db": "1b5f0d9ad7c1", "basic_auth.db": "8606fa83a998"}
    assert manifest.rows["mlflow.db"]["runs"] == 50
    assert manifest.rows["basic_auth.db"]["users"] == 2
    assert (manifest.host, manifest.deployment, manifest.reason) == (os.uname().nodename, "server", "by hand")
    assert (manifest.encryption, manifest.artifacts) == ({}, None)
    assert answer["id"] == backup.id
    assert answer["size"] == sum(member.size for member in manifest.members)


def test_nothing_is_left_on_the_host(source: BackupSource) -> None:
    source.back_up()
    assert remembered(source) == set()
    assert not list(source.data.glob("*-journal"))


def test_what_happened_is_remembered(source: BackupSource) -> None:
    answer = source.back_up("by schedule")
    noted = state.last(source.settings.state)
    assert noted["failed"] is None
    made = noted["made"]
    assert (made["id"], made["reason"], made["stored_size"]) == (answer["id"], "by schedule", answer["stored_size"])
    assert time.time() - made["at"] < 60


def test_each_step_is_told_with_its_progress(source: BackupSource) -> None:
    source.with_artifacts()
    (source.artifacts / "model").write_bytes(bytes(1000))
    source.back_up()
    titles = [event.title for event in source.events if isinstance(event, Start)]
    results = [event.title for event in source.events if isinstance(event, Result)]
    assert titles == results
    assert titles == [
        "snapshot of the databases",
        "tracking database",
        "users",
        "secrets and configuration",
        "artifacts",
        "manifest",
    ]
    sizes = {event.step: (event.done, event.total) for event in source.events if isinstance(event, Progress)}
    assert sizes["backup-mlflow.db"] == (source.tracking.stat().st_size,) * 2


def test_encrypted_there_is_nothing_to_read_but_the_manifest(source: BackupSource) -> None:
    source.encrypted(TO_US)
    source.with_artifacts()
    (source.artifacts / "secret-model").write_bytes(b"SECRET" * 1000)
    source.back_up()
    (backup,) = whole(source)
    for key in source.objects():
        raw = Path(source.store.title, key).read_bytes()
        assert key.endswith((".gz.age", "/manifest.json"))
        assert not any(word in raw for word in (b"SECRET", b"admin", b"secret-model", str(IDENTITY).encode()))
        if key.endswith(".age"):
            gzip.decompress(pyrage.decrypt(raw, [IDENTITY]))
    assert backup.manifest
    assert backup.manifest.encryption == {"recipient": TO_US.recipient, "kdf": {"n": 1}}


def test_backups_are_numbered_whatever_the_clock_says(source: BackupSource, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [source.back_up()["id"]]
    for moment in (time.time() + 1e8, 1e9, 5.0):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        ids.append(source.back_up()["id"])
    assert [backup.id for backup in whole(source)] == ids[::-1]
    assert [backup.manifest.sequence for backup in source.listed() if backup.manifest] == [4, 3, 2, 1]


def test_the_numbering_goes_on_where_the_newest_manifest_cannot_be_read(source: BackupSource) -> None:
    for _ in range(2):
        source.back_up()
    Path(source.store.title, source.listed()[0].id, "manifest.json").write_text("garbage")
    assert source.back_up()["sequence"] == 3


def test_a_new_host_goes_on_with_the_numbers_of_the_store(source: BackupSource, tmp_path: Path) -> None:
    source.back_up()
    source.settings = replace(source.settings, state=str(tmp_path / "other-host"))
    assert source.back_up()["sequence"] == 2


def test_artifacts_are_stored_once(source: BackupSource) -> None:
    source.with_artifacts()
    (source.artifacts / "model").write_bytes(os.urandom(300_000))
    source.back_up()
    before = source.objects()
    assert source.back_up()["artifacts"] == {"files": 1, "bytes": 300_000}
    assert {key for key in source.objects() - before if key.startswith("packs/")} == set()
    whole(source)
    assert source.back_up(artifacts=False)["artifacts"] is None


@pytest.mark.parametrize("name", ["mlflow.db", "basic_auth.db"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"x" * 9999), "is not an SQLite database"),
        (lambda path: _overwrite(path), "is damaged: "),
    ],
    ids=["missing", "empty", "foreign", "corrupt"],
)
def test_a_source_that_is_not_whole_makes_no_backup(
    source: BackupSource, name: str, harm: Callable[[Path], None], message: str
) -> None:
    if name == "basic_auth.db":
        database(source.data / "more.db", "CREATE TABLE x (y); INSERT INTO x VALUES (hex(zeroblob(90000)));")
        (source.data / "more.db").replace(source.users)
    harm(source.data / name)
    with pytest.raises(AgentError, match=message) as caught:
        source.back_up()
    assert (caught.value.kind, bool(caught.value.hint)) == ("source", True)
    assert source.objects() == set()
    assert remembered(source) == set()
    failed = state.last(source.settings.state)["failed"]
    assert (failed["message"], failed["what"]) == (caught.value.message, "backup")


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\x5a" * 4096 * 3)


def test_a_secret_that_is_missing_makes_no_backup(source: BackupSource) -> None:
    (source.etc / "secrets.env").unlink()
    with pytest.raises(AgentError, match=r"secrets\.env is missing, which belongs to every backup"):
        source.back_up()
    assert source.objects() == set()
    assert [event.verdict for event in source.events if isinstance(event, Result)][-1] == FAILED


def test_too_little_room_is_told_before_anything_begins(source: BackupSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_SPARE", 1 << 60)
    with pytest.raises(AgentError, match="not enough room"):
        source.back_up()
    assert (source.objects(), source.events) == (set(), [])


def test_two_at_once_are_one(source: BackupSource) -> None:
    with (
        state.working(source.settings.state, "backup", "ada@laptop"),
        contextlib.closing(os.fdopen(os.open(os.devnull, os.O_RDONLY))),
    ):
        child = forked(lambda: _expect_locked(source))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert state.last(source.settings.state)["failed"] is None  # that somebody else is at it is no failure


def _expect_locked(source: BackupSource) -> None:
    state._working.clear()  # another process would not have it
    with pytest.raises(AgentError, match="ada@laptop is running `backup` on this host") as caught:
        source.back_up()
    assert caught.value.kind == "locked"


def forked(action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return child


@pytest.mark.parametrize("encryption", [Encryption(), TO_US], ids=["plain", "encrypted"])
@pytest.mark.parametrize("step", ["backup-snapshot", "backup-mlflow.db", "backup-artifacts", "backup-manifest"])
def test_a_stop_in_any_step_leaves_nothing(source: BackupSource, step: str, encryption: Encryption) -> None:
    source.encrypted(encryption)
    source.with_artifacts()
    (source.artifacts / "model").write_bytes(os.urandom(5_000_000))
    source.add_runs(200)
    begun = threading.Event()
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Start) and event.step == step:
            begun.set()

    started = time.monotonic()
    with pytest.raises(AgentError) as caught:
        make(source.settings, "by hand", True, emit, begun.is_set)
    assert (caught.value.kind, time.monotonic() - started < 5) == ("interrupted", True)
    assert source.objects() == set()
    assert remembered(source) == set()
    assert state.last(source.settings.state)["failed"] is None  # it was asked for
    source.back_up()
    whole(source)


class Stubborn(FolderStore):
    """Fails as `fails` says, by what is done and the key."""

    def __init__(self, folder: str, fails: Callable[[str, str], bool]) -> None:
        super().__init__(folder)
        self._fails = fails

    @contextlib.contextmanager
    def put(self, key: str, expected: int = 0) -> Iterator[Any]:
        if self._fails("put", key):
            raise AgentError(f"s3 denies {key}", "ask for s3:PutObject", "store")
        with super().put(key, expected) as writer:
            yield writer
        if self._fails("acknowledge", key):
            raise AgentError("the connection was lost", "look at the network", "store")

    def delete(self, keys: Sequence[str]) -> None:
        if any(self._fails("delete", key) for key in keys):
            raise AgentError("s3 denies s3:DeleteObject", "", "store")
        super().delete(keys)


def stubborn(source: BackupSource, monkeypatch: pytest.MonkeyPatch, fails: Callable[[str, str], bool]) -> None:
    monkeypatch.setattr(making, "open_store", lambda *_: Stubborn(source.store.title, fails))


@pytest.mark.parametrize("part", ["/mlflow.db.gz", "/basic_auth.db.gz", "/files.tar.gz", "packs/", "/manifest.json"])
@pytest.mark.parametrize("what", ["put", "acknowledge"])
def test_a_store_that_fails_leaves_nothing(
    source: BackupSource, monkeypatch: pytest.MonkeyPatch, part: str, what: str
) -> None:
    source.with_artifacts()
    (source.artifacts / "model").write_bytes(b"x" * 1000)
    stubborn(source, monkeypatch, lambda did, key: did == what and part in key)
    with pytest.raises(AgentError) as caught:
        source.back_up()
    assert caught.value.kind == "store"
    assert source.objects() == set()
    assert remembered(source) == set()
    assert state.last(source.settings.state)["failed"]["hint"] == caught.value.hint
    monkeypatch.undo()
    source.back_up()
    whole(source)
    assert state.last(source.settings.state)["failed"] is None


def test_what_may_not_be_deleted_is_not_listed_and_is_no_obstacle(
    source: BackupSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True
    stubborn(source, monkeypatch, lambda did, key: did == "delete" or (broken and did == "put" and "files" in key))
    with pytest.raises(AgentError, match="s3 denies"):
        source.back_up()
    assert source.listed() == []
    broken = False
    source.back_up()
    assert [backup.problem for backup in source.listed()] == [""]


def test_an_upload_that_was_given_up_is_not_forgotten(source: BackupSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still arrive after everything else was removed: the next run looks again."""
    monkeypatch.setattr(transfer, "at_work", lambda: True)
    stubborn(source, monkeypatch, lambda did, key: did == "put" and "files" in key)
    with pytest.raises(AgentError, match="s3 denies"):
        source.back_up()
    assert len(source.objects()) == 2
    monkeypatch.undo()
    source.back_up()
    assert len(whole(source)) == 1
    assert any(event.title == "what a killed backup had left" for event in source.events if isinstance(event, Result))


# Killed at every change of a file that it makes, one after the other.

_CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect", "os.truncate", "os.link")
_killer: dict[str, Any] = {}


def _count(event: str, arguments: tuple[Any, ...]) -> None:
    if not _killer or event not in _CHANGES or not str(arguments[0]).startswith(_killer["below"]):
        return
    _killer["left"] -= 1
    if _killer["left"] < 0:
        os.kill(os.getpid(), signal.SIGKILL)


def _back_up_until(source: BackupSource, changes: int) -> bool:
    """Whether it came to its end before so many changes."""

    def action() -> None:
        sys.addaudithook(_count)
        _killer.update(below=str(source.state.parent), left=changes)
        source.back_up()
        _killer.clear()

    code = os.waitstatus_to_exitcode(os.waitpid(forked(action), 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code == 0


@pytest.mark.parametrize("encryption", [Encryption(), TO_US], ids=["plain", "encrypted"])
def test_killed_anywhere_it_leaves_no_half_backup_and_the_next_run_no_litter(
    tmp_path: Path, encryption: Encryption
) -> None:
    steps = random.Random()
    changes = seen = 0
    while True:
        source = BackupSource(tmp_path / str(changes), runs=2)
        source.encrypted(encryption)
        source.with_artifacts()
        (source.artifacts / "model").write_bytes(b"x" * 1000)
        source.back_up()
        (source.artifacts / "model").write_bytes(b"y" * 1001)
        ended = _back_up_until(source, changes)
        after = source.listed()
        assert [backup.problem for backup in after] == [""] * len(after)
        if not ended and len(after) == 1:
            noted = state.last(source.settings.state)["failed"]
            assert noted is None or "did not come to its end" in noted["message"]
        made = source.back_up()
        found = whole(source)
        assert found[0].id == made["id"]
        assert len(found) == len(after) + 1
        assert [one.manifest.sequence for one in found if one.manifest] == list(range(len(found), 0, -1))
        assert remembered(source) == set()
        assert state.last(source.settings.state)["failed"] is None
        seen += 1
        if ended:
            break
        changes += steps.randint(4, 12)
    assert seen > 4


def test_a_killed_backup_is_a_failure_that_status_tells(source: BackupSource) -> None:
    assert not _back_up_until(source, 25)
    failed = state.last(source.settings.state)["failed"]
    assert "did not come to its end: it was killed" in failed["message"]
    source.back_up()
    assert state.last(source.settings.state)["failed"] is None


def test_a_kill_takes_the_filter_along(source: BackupSource) -> None:
    """Else it would hold what it encrypts, and the next run would find it at work."""
    source.encrypted(TO_US)
    read_end, write_end = os.pipe()

    def action() -> None:
        def emit(event: Event) -> None:
            if isinstance(event, Progress) and event.step == "backup-mlflow.db":
                children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
                os.write(write_end, children.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        make(source.settings, "by hand", False, emit, lambda: False)

    os.waitpid(forked(action), 0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        children = pipe.read().split()
    assert len(children) == 1
    deadline = time.monotonic() + 5
    while Path(f"/proc/{children[0]}").exists() and "State:\tZ" not in Path(f"/proc/{children[0]}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_request_makes_and_verifies_at_once(source: BackupSource) -> None:
    request = source.request("make", reason="by hand", artifacts=True, verify=True, identity="")
    answer = serve(json.loads(json.dumps(request)), "ada@laptop", source.events.append, lambda: False)
    assert answer["backup"]["verified"]["level"] == "full"
    assert serve(source.request("list"), "", source.events.append, lambda: False) == {"backups": [answer["backup"]]}


def test_a_manifest_is_the_last_thing_written(source: BackupSource, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def note(did: str, key: str) -> bool:
        if did == "acknowledge":
            order.append(key)
        return False

    stubborn(source, monkeypatch, note)
    backup = source.back_up()
    assert order[-1] == f"{backup['id']}/manifest.json"
    assert decode(source.store.read(order[-1]), "it").id == backup["id"]


@needs_root
def test_all_of_it_is_the_service_users(open_folder: Path) -> None:
    open_folder.chmod(0o777)
    account = pwd.getpwnam("daemon")
    source = BackupSource(open_folder / "host")
    for path in (open_folder / "host", *(open_folder / "host").rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    source.settings = replace(source.settings, user="daemon")
    request = source.request("make", reason="by hand", artifacts=True, verify=True, identity="")
    serve(request, "ada@laptop", source.events.append, lambda: False)
    assert source.listed()[0].verified
    owners = {path.stat().st_uid for path in (open_folder / "host").rglob("*")}
    assert owners == {account.pw_uid}


@needs_root
def test_a_signal_reaches_what_runs_as_the_service_user(open_folder: Path) -> None:
    open_folder.chmod(0o777)
    account = pwd.getpwnam("daemon")
    source = BackupSource(open_folder / "host", runs=2000)
    for path in (open_folder / "host", *(open_folder / "host").rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    source.settings = replace(source.settings, user="daemon")
    request = source.request("make", reason="by hand", artifacts=True, verify=True, identity="")
    with AgentProcess("backup", request) as agent:
        while not (isinstance(event := agent.event(), Start) and event.step == "backup-mlflow.db"):
            pass
        asked = time.monotonic()
        agent.process.terminate()
        error = agent.answer().error
    assert error and error["kind"] == "interrupted"
    assert time.monotonic() - asked < 5
    assert source.objects() == set()
    assert remembered(source) == set()


@needs_root
def test_as_it_travels_the_program_works_as_the_service_user(open_folder: Path) -> None:
    """It is then a file in the memory of a process that was root's."""
    open_folder.chmod(0o777)
    account = pwd.getpwnam("daemon")
    source = BackupSource(open_folder / "host")
    source.with_artifacts()
    (source.artifacts / "model").write_bytes(b"x" * 1000)
    for path in (open_folder / "host", *(open_folder / "host").rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    source.settings = replace(source.settings, user="daemon")
    request = source.request("make", reason="by hand", artifacts=True, verify=True, identity="")
    with subprocess.Popen(
        ["/usr/bin/python3", PYTHON_FLAGS, "-c", BOOTSTRAP], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as agent:
        assert agent.stdin and agent.stdout
        agent.stdin.write(payload("backup", request))
        agent.stdin.flush()  # and stays open: its end would mean that nobody wants the answer
        event: Event = Output("", "")
        while not isinstance(event, Done):
            line = agent.stdout.readline().decode()
            event = decode_event(line) if line.startswith("{") else event
    assert event.error is None
    assert event.data["backup"]["verified"]["level"] == "full"
