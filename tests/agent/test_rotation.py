"""The verb `rotate`: new secrets, or the old ones as before; and a run that was killed is gone on with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.protocol import AgentError, Event, encode
from mlflow_provision.agent.resources import to_json
from mlflow_provision.agent.rotation import gateway_keys, secret, serve
from mlflow_provision.agent.rotation.gateway_keys import PASSPHRASE
from tests.agent.fake_systemd import FakeSystemd

KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"
OLD = {KEY: "CANARY-old-key", PASSPHRASE: "CANARY-old-passphrase", "MLFLOW_OTHER": "stays"}


class Killed(BaseException):
    """As far as our code can notice it."""


class Server:
    """A server with secrets, whose gateway has one key; `locked_with` is the passphrase that opens it."""

    def __init__(self, folder: Path, systemd: FakeSystemd, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.systemd = folder, systemd
        self.secrets_env = folder / "etc" / "secrets.env"
        self.secrets_env.parent.mkdir()
        self.secrets_env.write_text("".join(f"{name}={value}\n" for name, value in OLD.items()))
        self.secrets_env.chmod(0o640)
        self.keys, self.locked_with = 1, OLD[PASSPHRASE]
        self.failed_checks: list[str] = []
        self.stood_still = False
        self.events: list[Event] = []
        patch.setattr(gateway_keys, "count", lambda wanted: self.keys)
        patch.setattr(gateway_keys, "lock", self.lock)
        patch.setattr("mlflow_provision.agent.verify.verify", self.verify)

    def lock(self, wanted: Any, old: dict[str, str], new: dict[str, str], stopping: object) -> dict[str, Any]:
        self.stood_still = self.systemd.state["ActiveState"] == "inactive"
        if self.locked_with == new[PASSPHRASE]:
            return {"locked": 0, "already": 1, "unreadable": []}
        if self.locked_with != old[PASSPHRASE]:
            return {"locked": 0, "already": 0, "unreadable": ["k1"]}
        self.locked_with = new[PASSPHRASE]
        return {"locked": 1, "already": 0, "unreadable": []}

    def verify(self, *_: object) -> dict[str, Any]:
        failed = [{"title": title, "summary": "no", "verdict": "failed"} for title in self.failed_checks]
        return {"checks": [*failed, {"title": "is healthy", "summary": "", "verdict": "ok"}]}

    def rotate(self) -> dict[str, Any]:
        return serve(
            {
                "action": "secret",
                "deployment": "server",
                "secrets_env": str(self.secrets_env),
                "names": [KEY, PASSPHRASE],
                "database": str(self.folder / "mlflow.db"),
                "owner": "",
                "venv": str(self.folder / "venv"),
                "config": str(self.folder / "auth.ini"),
                "service": to_json(self.systemd.resource),
                "verify": {},
                "backup_lock": str(self.folder / "backup" / "state" / "lock"),
            },
            "ana@box",
            self.events.append,
            lambda: False,
        )

    @property
    def values(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.secrets_env.read_text().splitlines())

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.secrets_env.parent.iterdir())

    def assert_old(self) -> None:
        assert self.values == OLD and self.files == ["secrets.env"] and self.locked_with == OLD[PASSPHRASE]
        assert self.systemd.state["ActiveState"] == "active"

    def assert_new(self) -> None:
        assert self.values[KEY] != OLD[KEY] and self.values[PASSPHRASE] != OLD[PASSPHRASE]
        assert self.values["MLFLOW_OTHER"] == "stays" and self.files == ["secrets.env"]
        assert self.locked_with == self.values[PASSPHRASE]
        assert self.secrets_env.stat().st_mode & 0o777 == 0o640
        assert self.systemd.state["ActiveState"] == "active"


@pytest.fixture
def server(tmp_path: Path, systemd: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(tmp_path, systemd, monkeypatch)
    yield server
    assert "CANARY" not in "".join(encode(event) for event in server.events)


def test_new_ones_are_in_use_and_the_old_ones_gone(server: Server) -> None:
    answer = server.rotate()
    server.assert_new()
    assert answer == {"names": [KEY, PASSPHRASE], "keys": 1, "unreadable": [], "restarted": True}
    assert server.stood_still  # nobody adds a key meanwhile
    assert server.values[KEY] not in "".join(encode(event) for event in server.events)


def test_without_keys_of_a_gateway_nothing_is_locked(server: Server) -> None:
    server.keys = 0
    assert server.rotate()["keys"] == 0
    assert server.locked_with == OLD[PASSPHRASE] and server.values[PASSPHRASE] != OLD[PASSPHRASE]


def test_a_stopped_server_stays_stopped(server: Server) -> None:
    server.systemd.become(ActiveState="inactive", SubState="dead")
    assert not server.rotate()["restarted"]
    assert server.systemd.state["ActiveState"] == "inactive" and server.values[KEY] != OLD[KEY]


def test_a_server_that_is_not_what_it_was_gets_the_old_ones_back(server: Server) -> None:
    server.failed_checks = ["lets admin log in"]
    with pytest.raises(AgentError, match=r"does not pass its verification.*lets admin log in") as caught:
        server.rotate()
    assert "the old secrets are in use again" in caught.value.message
    server.assert_old()


def test_a_server_that_does_not_start_gets_the_old_ones_back(server: Server) -> None:
    once = server.folder / "once"
    server.systemd.on("start", f"[ -e {once} ] || {{ touch {once}; become NRestarts 3; exit; }}; touch healthy")
    with pytest.raises(AgentError, match="the old secrets are in use again"):
        server.rotate()
    server.assert_old()


def test_a_missing_secret_is_told_before_anything_changes(server: Server) -> None:
    server.secrets_env.write_text(f"{KEY}=CANARY-only\n")
    with pytest.raises(AgentError, match=f"has no {PASSPHRASE}") as caught:
        server.rotate()
    assert "mlflow-provision setup NAME" in caught.value.hint and server.files == ["secrets.env"]


@pytest.mark.parametrize("function", ["_put", "_write", "_prove", "_forget"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2])
def test_killed_anywhere_and_repeated(
    server: Server, monkeypatch: pytest.MonkeyPatch, function: str, after: bool, call: int
) -> None:
    whole, calls = getattr(secret, function), []

    def dies(*arguments: Any) -> Any:
        calls.append(function)
        if len(calls) == call and not after:
            raise Killed
        answer = whole(*arguments)
        if len(calls) == call:
            raise Killed
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(secret, function, dies)
        try:
            server.rotate()
        except Killed:
            assert {path.stat().st_mode & 0o777 for path in server.secrets_env.parent.iterdir()} == {0o640}
    server.rotate()
    server.assert_new()


def test_killed_between_the_database_and_the_file(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*arguments: Any) -> Any:
        server.lock(*arguments)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(gateway_keys, "lock", dies)
        with pytest.raises(Killed):
            server.rotate()
    assert server.values == OLD and server.locked_with != OLD[PASSPHRASE]
    assert server.rotate()["keys"] == 1
    server.assert_new()


def test_no_backup_is_made_meanwhile(server: Server) -> None:
    from mlflow_provision.agent.lock import held

    state = server.folder / "backup" / "state"
    state.mkdir(parents=True)
    with held(str(state / "lock"), "the timer", "backup server"), pytest.raises(AgentError, match="backup server"):
        server.rotate()
    server.assert_old()


def test_the_answer_of_mlflow_is_read_among_what_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["a warning", "MLFLOW-PROVISION " + json.dumps({"locked": 2, "already": 0, "unreadable": []})]
    seen: list[dict[str, Any]] = []

    def run(venv: str, config: str, program: str, request: dict[str, Any], stopping: object) -> list[str]:
        seen.append(request)
        return lines

    monkeypatch.setattr("mlflow_provision.agent.release_program.run", run)
    wanted: Any = type("Wanted", (), {"owner": "u", "database": "/d/mlflow.db", "venv": "v", "config": "c"})
    assert gateway_keys.lock(wanted, OLD, {**OLD, PASSPHRASE: "new"}, lambda: False)["locked"] == 2
    assert seen[0]["new"] == "new" and seen[0]["old"] == OLD[PASSPHRASE] and seen[0]["version"] == 1
    lines.clear()
    with pytest.raises(AgentError, match="did not say"):
        gateway_keys.lock(wanted, OLD, OLD, lambda: False)
