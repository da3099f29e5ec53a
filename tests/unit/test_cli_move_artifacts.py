"""`move-artifacts`: what is asked of the host, what a person and a program see, what the deployment file says then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision import moving
from mlflow_provision.agent.moving.wanted import wanted
from mlflow_provision.agent.protocol import CHANGED, Done, Event, Result
from mlflow_provision.aws import ProfileKeys
from mlflow_provision.blueprint.moving import MOVE, RELOCATE, Move, move_request, relocate_request
from mlflow_provision.config import Artifacts, Backup, load
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit import hosts
from tests.unit.conftest import CommandLine
from tests.unit.fake_host import FakeHost

FOLDER = "/opt/mlflow/server/data/artifacts"
APPLIED = {"name": "server", "mlflow_version": "3.17.2", "artifacts": FOLDER}
SEEN: dict[str, Any] = {
    "rows": {"experiments": 2, "runs": 120, "trace_tags": 1},
    "units": {"run": {"renamed": 20, "copied": 100}},
    "sources": {"s3://old/mlflow": 90, "/home/ubuntu/mlruns": 10},
    "left": [{"why": "not on this host", "count": 3, "examples": ["/Users/ana/mlruns/1"]}],
    "unprotected": 0,
    "files": 400,
    "bytes": 2_100_000_000,
    "files_left": 300,
    "bytes_left": 1_000_000_000,
    "room": 50_000_000_000,
    "unfinished": False,
    "originals": [],
}
NOTHING = {**SEEN, "rows": {}, "units": {}, "sources": {}, "left": [], "files": 0, "bytes": 0, "bytes_left": 0}
PROOF = {"units": 100, "files": 90, "bytes": 5_000_000, "total": 120, "wrong": ()}
ORIGINALS = [{"id": "20261121T153012Z", "files": 400, "bytes": 2_100_000_000, "places": ["s3://old/mlflow"]}]
RUN: dict[str, Any] = {"files": 400, "bytes": 2_100_000_000, "seconds_down": 7.0, "checks": [], "proof": PROOF}


class MovingHost(FakeHost):
    """Set up; what there is to move is in `seen`."""

    def __init__(self) -> None:
        super().__init__(applied=APPLIED, root={"path": "/opt/mlflow", "state": "ours"}, admin_exists=True)
        self.seen = dict(SEEN)

    def asked(self, action: str) -> list[dict[str, Any]]:
        return [data for verb, data in self.requests if verb == "move" and data["action"] == action]

    def request(
        self, verb: str, data: dict[str, Any], reply: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None
    ) -> Iterator[Event]:
        if verb != "move":
            yield from super().request(verb, data, reply)
            return
        self.requests.append((verb, data))
        action = data["action"]
        if failure := self.failing.get(action):
            raise failure
        if action not in ("look", "look-store"):
            yield Result("copy", "artifacts copied", CHANGED, 1.0, "400 files")
        yield Done(self._answer(action))

    def _answer(self, action: str) -> dict[str, Any]:
        if action == "look":
            return self.seen
        if action == "look-store":
            return {key: SEEN[key] for key in ("files", "bytes", "files_left", "bytes_left")} | {
                "direct": 4,
                "originals": [],
            }
        if action == "delete":
            return {"files": 399, "bytes": 2_000_000_000, "kept": 1, "why": {"it was changed after it was copied": 1}}
        self.seen = {**NOTHING, "originals": ORIGINALS}
        more = {"rows": SEEN["rows"], "units": {}, "left": [], "late": 2, "backup": "20261121T153012Z-4f2a9c"}
        return {**RUN, **(more if action == "move" else {}), "record": "20261121T153012Z"}


@pytest.fixture
def host(command_line: CommandLine) -> MovingHost:
    command_line.host = MovingHost()
    return command_line.host


def test_a_dry_run_shows_and_asks_for_nothing(command_line: CommandLine, host: MovingHost) -> None:
    command_line.known()
    result = command_line.run("move-artifacts", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "2 experiments, 120 runs, 1 trace" in result.stdout
    assert "artifacts of 20 are in /opt/mlflow/server/data/artifacts already" in result.stdout
    assert "400 files, 2.1 GB (100 of them are copied already), to /opt" in result.stdout
    assert "from s3://old/mlflow (90)" in result.stdout and "3: not on this host" in result.stdout
    assert "mlflow-provision move-artifacts\n" in result.stdout
    assert host.verbs == ["facts", "move"] and "lock" not in host.asked("look")[0]


def test_nothing_to_move_is_good(command_line: CommandLine, host: MovingHost) -> None:
    command_line.known()
    host.seen = dict(NOTHING)
    result = command_line.run("move-artifacts")
    assert result.exit_code == 0 and "there is nothing to move" in result.stdout and not host.asked("move")


def test_a_move_that_lost_its_power_at_its_end_is_undone_first(command_line: CommandLine, host: MovingHost) -> None:
    """Its rows name places under the proxy already, and nobody has proved them."""
    command_line.known()
    host.seen = {**NOTHING, "unfinished": True}
    result = command_line.run("move-artifacts", "--yes")
    assert result.exit_code == 0 and len(host.asked("move")) == 1
    assert "put back first" in result.output and "nothing to move" not in result.output


def test_a_move_is_asked_for_and_told(command_line: CommandLine, host: MovingHost, person: None) -> None:
    command_line.known()
    result = command_line.run("move-artifacts", "--as-root", "/home/ubuntu/mlruns", "--missing", answers="y\n")
    assert result.exit_code == 0, result.output
    (asked,) = host.asked("move")
    assert asked["as_root"] == ["/home/ubuntu/mlruns"] and asked["missing"] and not asked["thorough"]
    assert asked["what"] == "move-artifacts server" and asked["audit"]["deployment"] == "server"
    assert "Moved under the proxy of server: 2 experiments, 120 runs, 1 trace" in result.stdout
    assert "artifacts of 100 of 120 listed, 90 files (5 MB) read" in result.stdout
    back = "restore 20261121T153012Z-4f2a9c server --from /opt/mlflow/server/backup/upgrades-store"
    assert back in result.stdout
    delete = "move-artifacts --as-root /home/ubuntu/mlruns --missing --delete-originals"
    assert delete in result.stdout and not host.asked("delete")


def test_a_no_changes_nothing(command_line: CommandLine, host: MovingHost, person: None) -> None:
    command_line.known()
    result = command_line.run("move-artifacts", answers="n\n")
    assert result.exit_code == ExitCode.FAILED and "Nothing was changed" in result.stdout and not host.asked("move")


def test_without_a_person_only_yes_says_yes(command_line: CommandLine, host: MovingHost) -> None:
    command_line.known()
    result = command_line.run("move-artifacts")
    assert result.exit_code == ExitCode.USAGE and "move-artifacts --yes" in result.stderr
    document = command_line.json("move-artifacts", "--yes", "--verify-all")
    assert document["ok"] and document["moved"]["late"] == 2 and document["found"]["files"] == 400
    assert host.asked("move")[0]["thorough"]


def test_the_place_for_backups_is_used_where_there_is_one(command_line: CommandLine, host: MovingHost) -> None:
    command_line.known(backup=Backup(destination="/var/backups/mlflow"))
    result = command_line.run("move-artifacts", "--yes")
    assert host.asked("move")[0]["settings"]["place"]["destination"] == "/var/backups/mlflow"
    assert "restore 20261121T153012Z-4f2a9c server\n" in result.stdout


def test_originals_are_deleted_after_a_question_of_their_own(
    command_line: CommandLine, host: MovingHost, person: None
) -> None:
    command_line.known()
    host.seen = {**NOTHING, "originals": ORIGINALS}
    assert "400 files, 2.1 GB, in s3://old/mlflow" in command_line.run("move-artifacts").stdout
    result = command_line.run("move-artifacts", "--delete-originals", answers="n\n")
    assert result.exit_code == ExitCode.FAILED and "Nothing was deleted" in result.stdout
    result = command_line.run("move-artifacts", "--delete-originals", answers="y\n")
    assert result.exit_code == 0 and "399 originals deleted, 2.0 GB freed" in result.stdout
    assert "1: it was changed after it was copied" in result.stdout and len(host.asked("delete")) == 1


def test_old_buckets_are_read_with_another_profile(
    command_line: CommandLine, host: MovingHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_line.known()
    monkeypatch.setattr(moving, "profile_keys", lambda name: ProfileKeys("AKIAOLD", "CANARY-old", "eu-west-1"))
    result = command_line.run("move-artifacts", "--yes", "--from-profile", "old")
    (asked,) = host.asked("move")
    assert asked["source"]["access_key_id"] == "AKIAOLD" and asked["source"]["region"] == "eu-west-1"
    assert asked["target"]["access_key_id"] == "" and "CANARY" not in result.output


class TestTo:
    def test_the_store_moves_and_the_file_says_so(self, command_line: CommandLine, host: MovingHost) -> None:
        path = command_line.known()
        result = command_line.run("move-artifacts", "--yes", "--to", "/mnt/large/artifacts")
        assert result.exit_code == 0, result.output
        (asked,) = host.asked("relocate")
        assert (asked["destination"], asked["to"]) == (FOLDER, "/mnt/large/artifacts")
        assert "server keeps its artifacts in /mnt/large/artifacts from now on" in result.stdout
        assert "4 runs, models or traces name the old place directly" in " ".join(result.stdout.split())
        assert load(path).artifacts == Artifacts("/mnt/large/artifacts")

    def test_a_failed_move_leaves_the_file_alone(self, command_line: CommandLine, host: MovingHost) -> None:
        path = command_line.known()
        host.failing["relocate"] = ProvisionError("the store is in trouble")
        assert command_line.run("move-artifacts", "--yes", "--to", "/mnt/large/artifacts").exit_code == 1
        assert load(path).artifacts == Artifacts()

    def test_a_bucket_needs_to_be_reached(self, command_line: CommandLine, host: MovingHost) -> None:
        command_line.known()
        result = command_line.run("move-artifacts", "--to", "s3://bucket/p")
        assert result.exit_code == ExitCode.USAGE and not command_line.connections
        assert "--instance-role, --aws-profile PROFILE, --aws-keys" in result.stderr

    def test_a_bucket_is_tried_first(self, command_line: CommandLine, host: MovingHost) -> None:
        path = command_line.known()
        host.failing["store"] = ProvisionError("no such bucket")
        result = command_line.run("move-artifacts", "--yes", "--to", "s3://bucket/p", "--instance-role")
        assert result.exit_code == 1 and "no such bucket" in result.stderr and not host.asked("look-store")
        del host.failing["store"]
        result = command_line.run("move-artifacts", "--yes", "--to", "s3://bucket/p", "--instance-role")
        assert result.exit_code == 0, result.output
        assert load(path).artifacts == Artifacts("s3://bucket/p", credentials="instance-role")

    def test_flags_of_a_place_need_one(self, command_line: CommandLine, host: MovingHost) -> None:
        command_line.known()
        result = command_line.run("move-artifacts", "--region", "us-west-1")
        assert result.exit_code == ExitCode.USAGE and "--to s3://bucket/prefix" in result.stderr

    def test_a_run_that_was_cut_off_before_the_file_was_written(
        self, command_line: CommandLine, host: MovingHost
    ) -> None:
        path = command_line.known()
        host.changed_facts["applied"] = {**APPLIED, "artifacts": "/mnt/large/artifacts"}
        result = command_line.run("move-artifacts")
        assert result.exit_code == ExitCode.USAGE and "--to /opt/mlflow/server/data/artifacts" in result.stderr
        result = command_line.run("move-artifacts", "--to", "/mnt/large/artifacts")
        assert result.exit_code == 0 and not host.asked("relocate")
        assert load(path).artifacts.destination == "/mnt/large/artifacts"


@pytest.mark.parametrize("fact", ["restoring", "upgrading"])
def test_what_is_half_way_comes_first(command_line: CommandLine, host: MovingHost, fact: str) -> None:
    command_line.known()
    host.changed_facts[fact] = True
    result = command_line.run("move-artifacts")
    assert result.exit_code == 1 and "interrupted half-way" in result.stderr and not host.asked("look")


def test_a_server_that_is_not_there(command_line: CommandLine, host: MovingHost) -> None:
    command_line.known()
    host.changed_facts["applied"] = None
    assert "mlflow-provision setup server" in command_line.run("move-artifacts").stderr


class TestRequest:
    def test_the_agent_understands_it_and_no_secret_shows(self) -> None:
        facts = hosts.facts(root={"path": "/opt/mlflow", "state": "ours"})
        for deployment in (hosts.S3_KEYS, hosts.LOCAL):
            request = wanted(move_request(deployment, hosts.SECRETS, facts, Move(MOVE, identity="CANARY-identity")))
            assert "CANARY" not in repr(request)
            assert request.moves == f"/opt/mlflow/{deployment.name}/moves"
        assert wanted(move_request(hosts.S3_KEYS, hosts.SECRETS, facts, Move(MOVE))).target.access_key_id

    def test_a_store_that_moves_carries_both_sides(self) -> None:
        facts = hosts.facts(root={"path": "/opt/mlflow", "state": "ours"})
        old, new = (hosts.server(), hosts.SECRETS), (hosts.S3_KEYS, hosts.SECRETS)
        request = wanted(relocate_request(old, new, facts, Move(RELOCATE)))
        assert request.to == "s3://basketworld/mlflow" and request.to_access.access_key_id
        assert not request.target.access_key_id and "CANARY" not in repr(request)
        assert "store" in {one["id"] for one in request.resources}
        assert "store" not in {one["id"] for one in request.old_resources}


def test_help_fits(command_line: CommandLine, tmp_path: Path) -> None:
    result = command_line.run("move-artifacts", "--help")
    assert result.exit_code == 0 and [line for line in result.stdout.splitlines() if len(line) > 80] == []
