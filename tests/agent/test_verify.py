from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlflow_provision.agent.protocol import AgentError, Event, Result, Start
from mlflow_provision.agent.verify import verify
from tests.agent.fake_mlflow import ORIGIN, PASSWORD, FakeMlflow, Hangup, serve

# What needs no systemd and no unit.
FULL = [
    "health",
    "anonymous",
    "wrong-password",
    "login",
    "host",
    "foreign-host",
    "origin",
    "foreign-origin",
    "experiment",
    "run",
    "artifact-uri",
    "artifact-upload",
    "artifact-download",
    "cleanup",
    "port",
    "enabled",
]
QUICK = ["health", "anonymous", "login", "host", "foreign-host", "origin", "foreign-origin", "port", "enabled"]


@pytest.fixture
def fake() -> Iterator[FakeMlflow]:
    with serve(FakeMlflow()) as server:
        yield server


def results(fake: FakeMlflow, **changes: Any) -> dict[str, Result]:
    """Run a verification; every event of every check must be there."""
    events: list[Event] = []
    report = verify(fake.data(**changes), events.append)
    starts = [event.step for event in events if isinstance(event, Start)]
    found = {event.step: event for event in events if isinstance(event, Result)}
    assert starts == list(found) == [check["step"] for check in report["checks"]]
    assert report["failed"] == sum(result.verdict == "failed" for result in found.values())
    assert PASSWORD not in repr(events) + repr(report)
    return found


def verdicts(found: dict[str, Result]) -> dict[str, str]:
    return {step: result.verdict for step, result in found.items()}


def assert_only_failed(found: dict[str, Result], step: str, *words: str) -> None:
    assert [name for name, result in found.items() if result.verdict == "failed"] == [step]
    for word in words:
        assert word in found[step].summary


def assert_clean(fake: FakeMlflow) -> None:
    assert fake.files == {}
    assert {item["lifecycle_stage"] for item in fake.experiments.values()} <= {"deleted"}


def test_a_good_server_passes_and_is_left_clean(fake: FakeMlflow) -> None:
    found = results(fake)
    assert verdicts(found) == {step: "skipped" if step == "enabled" else "ok" for step in FULL}
    assert_clean(fake)
    assert "marked deleted" in found["cleanup"].summary
    assert all(result.seconds >= 0 and result.summary for result in found.values())


def test_quick_only_reads(fake: FakeMlflow) -> None:
    found = results(fake, level="quick")
    assert verdicts(found) == {step: "skipped" if step == "enabled" else "ok" for step in QUICK}
    assert fake.experiments == {}
    assert sum(result.seconds for result in found.values()) < 0.3


def test_without_a_password_says_what_to_set(fake: FakeMlflow) -> None:
    found = results(fake, password="")
    needing = ["login", *FULL[FULL.index("experiment") : FULL.index("cleanup") + 1]]
    for step in needing:
        assert found[step].verdict == "skipped"
        assert "MLFLOW_PROVISION_ADMIN_PASSWORD" in found[step].summary
    rest = {step: verdict for step, verdict in verdicts(found).items() if step not in [*needing, "enabled"]}
    assert set(rest.values()) == {"ok"}


def test_nothing_listens() -> None:
    with serve(FakeMlflow()) as fake:
        pass
    found = results(fake)
    assert [step for step, result in found.items() if result.verdict == "failed"] == ["health", "port"]
    assert "connection refused" in found["health"].summary
    assert found["login"].summary == found["cleanup"].summary == 'not tried, because "is healthy" failed'


def test_unhealthy(fake: FakeMlflow) -> None:
    fake.healthy = False
    assert_only_failed(results(fake), "health", "expected 200", "got 500")


@pytest.mark.parametrize(
    ("fault", "step", "words"),
    [
        ({"basic_auth": False}, "anonymous", ["expected 401, got 200", "basic-auth"]),
        ({"admin": False}, "login", ["no administrator"]),
        ({"host_check": False}, "foreign-host", ["MLFLOW_SERVER_ALLOWED_HOSTS", "expected 403, got 401"]),
        ({"origin_check": False}, "foreign-origin", ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]),
        ({"origins": ()}, "origin", ["403", ORIGIN, "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"]),
        ({"artifact_scheme": "s3://bucket/"}, "artifact-uri", ["s3://bucket/1/", "--default-artifact-root"]),
        ({"read_back": lambda body: body[::-1]}, "artifact-download", ["differs"]),
        ({"keep_metric": lambda metric: metric["step"] != 3}, "run", ["metric values"]),
    ],
)
def test_a_fault_fails_its_check_and_no_other(
    fake: FakeMlflow, fault: dict[str, Any], step: str, words: list[str]
) -> None:
    for name, value in fault.items():
        setattr(fake, name, value)
    found = results(fake)
    if step == "anonymous":  # without authentication every password is right
        assert found.pop("wrong-password").verdict == "failed"
    assert_only_failed(found, step, *words)
    assert_clean(fake)


def test_an_older_mlflow_does_not_know_who_asks(fake: FakeMlflow) -> None:
    """Before 3.13 there is no users/current."""
    fake.unknown = "/mlflow/users/current"
    assert results(fake)["login"].summary == "admin is an administrator"
    assert_only_failed(results(fake, password="something else"), "login", "another password")


def test_one_that_goes_back_to_an_mlflow_without_these_checks_is_not_refused(fake: FakeMlflow) -> None:
    fake.host_check = fake.origin_check = False
    found = results(fake, guarded=False)
    assert {found[step].verdict for step in ("foreign-host", "foreign-origin")} == {"skipped"}
    assert "before 3.10" in found["foreign-origin"].summary
    assert not [step for step, result in found.items() if result.verdict == "failed"]


def test_any_password_is_accepted(fake: FakeMlflow) -> None:
    fake.any_password = True
    assert_only_failed(results(fake), "wrong-password", "expected 401, got 200")


def test_our_password_is_wrong(fake: FakeMlflow) -> None:
    found = results(fake, password="something else")
    assert_only_failed(found, "login", "another password", "MLFLOW_PROVISION_ADMIN_PASSWORD")
    assert found["run"].summary == 'not tried, because "lets admin log in" failed'
    assert found["origin"].verdict == "ok"


def test_a_name_people_use_is_refused(fake: FakeMlflow) -> None:
    found = results(fake, hosts=["localhost", "ec2.example.com:5000"])
    assert_only_failed(found, "host", "ec2.example.com:5000", "allowed_hosts")


def answers(status: int, body: bytes = b"") -> Callable[[], tuple[int, bytes]]:
    return lambda: (status, body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answers(500, b"Internal Server Error"), ["got 500", "its log says why"]),
        (answers(500, b"<html><h1>Oops"), ["got 500", "its log says why"]),
        (answers(500, b'{"message": "disk full"}'), ["got 500", "disk full"]),
        (answers(403, b"Permission denied"), ["may not do this", "Permission denied"]),
        (answers(413), ["client_max_body_size"]),
        (answers(503, b"Artifact serving is disabled."), ["--serve-artifacts", "disabled"]),
    ],
)
def test_uploads_fail(fake: FakeMlflow, answer: Callable[[], tuple[int, bytes]], words: list[str]) -> None:
    fake.faults["verify.bin"] = answer
    found = results(fake)
    assert_only_failed(found, "artifact-upload", "artifact store", *words)
    assert found["artifact-download"].verdict == "skipped"
    assert_clean(fake)


def test_what_the_log_says_of_a_server_error(fake: FakeMlflow, tmp_path: Any) -> None:
    log = tmp_path / "log"
    log.write_text("Traceback (most recent call last):\nOldError: of yesterday\n")

    def crash() -> tuple[int, bytes]:
        with log.open("a") as handle:
            handle.write("Traceback (most recent call last):\n  File x\nNewError: disk full\nINFO\n")
        return 500, b""

    fake.faults["verify.bin"] = crash
    service = {"kind": "BackgroundProcess", "id": "", "script": "", "url": "", "pid_file": "", "log": str(log)}
    found = results(fake, service={**service, "started_with": "", "watched": [], "restart_on": []})
    assert found["artifact-upload"].summary.endswith("its log says why: NewError: disk full")


def test_the_store_takes_but_does_not_delete(fake: FakeMlflow) -> None:
    fake.faults["DELETE /mlflow-artifacts"] = answers(500)
    assert_only_failed(results(fake), "cleanup", "left behind", "mlflow-provision-verify-")
    # Active still: the next verification finds it, once it is old enough not to be somebody else's.
    (left,) = fake.experiments.values()
    assert left["lifecycle_stage"] == "active"
    left["creation_time"] -= 2 * 3600 * 1000
    fake.faults.clear()
    found = results(fake)
    assert "1 left by interrupted" in found["cleanup"].summary
    assert_clean(fake)


def test_the_answer_to_create_is_lost(fake: FakeMlflow) -> None:
    def lost() -> tuple[int, bytes]:
        fake.faults.clear()
        name = "mlflow-provision-verify-" + "0" * 16
        fake.add_experiment(name, age=7200)
        raise Hangup

    fake.faults["experiments/create"] = lost
    found = results(fake)
    assert_only_failed(found, "experiment", "no HTTP answer")
    assert_clean(fake)


@pytest.mark.parametrize("path", ["runs/create", "runs/log-batch", "runs/get", "artifacts/list", "verify.bin"])
def test_the_connection_breaks(fake: FakeMlflow, path: str) -> None:
    def hangup() -> tuple[int, bytes]:
        raise Hangup

    fake.faults[path] = hangup
    assert "failed" in verdicts(results(fake)).values()
    assert_clean(fake)


def test_an_answer_that_makes_no_sense(fake: FakeMlflow) -> None:
    fake.faults["runs/create"] = answers(200, b"<html>")
    assert_only_failed(results(fake), "run", "makes no sense")
    assert_clean(fake)


def test_leaves_alone_what_is_not_ours(fake: FakeMlflow) -> None:
    fake.add_experiment("mlflow-provision-verify-by-hand", age=9999)
    fake.add_experiment("mlflow-provision-verify-" + "1" * 16, age=60)  # of somebody who verifies right now
    other = fake.add_experiment("mine", age=9999)
    fake.files[f"{other}/old-run/artifacts/model"] = b"precious"
    fake.files["4/run-of-a-server-before/artifacts/model"] = b"precious"  # 4 will be the experiment's number
    results(fake)
    assert [item["lifecycle_stage"] for item in fake.experiments.values()] == ["active"] * 3 + ["deleted"]
    assert sorted(fake.files) == ["3/old-run/artifacts/model", "4/run-of-a-server-before/artifacts/model"]


def test_stopped_by_the_operator_cleans_up(fake: FakeMlflow) -> None:
    stopped: list[bool] = []
    fake.after["runs/log-batch"] = lambda: stopped.append(True)
    events: list[Event] = []
    with pytest.raises(AgentError) as caught:
        verify(fake.data(), events.append, lambda: bool(stopped))
    assert caught.value.kind == "interrupted"
    found = {event.step: event for event in events if isinstance(event, Result)}
    assert found["artifact-upload"].verdict == "skipped"
    assert found["cleanup"].verdict == "ok"
    assert_clean(fake)


def test_nobody_listens_any_more(fake: FakeMlflow) -> None:
    def emit(event: Event) -> None:
        if event.step == "run" and isinstance(event, Result):  # type: ignore[union-attr]
            raise BrokenPipeError

    verify(fake.data(), emit)
    assert_clean(fake)
    assert not any("PUT" in request for request in fake.seen)


def test_user_scope_says_that_nothing_restarts_it(fake: FakeMlflow) -> None:
    found = results(fake, kill=True)
    for step in ("enabled", "kill"):
        assert found[step].verdict == "skipped"
        assert "`mlflow-provision start`" in found[step].summary
