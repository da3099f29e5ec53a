"""`setup --adopt`: what is asked of the host and in which order, what is kept, what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlflow_provision.agent.protocol import CHANGED, Done, Event, Result
from mlflow_provision.config import deployment_path, load, load_secrets
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.conftest import CommandLine
from tests.unit.fake_host import FakeHost
from tests.unit.test_adoption import DETAILS, LOCAL, OLD, PASSWORD

KEYS = {"aws_access_key_id": "AKIACANARYOLDKEY", "aws_secret_access_key": "CANARY/old/secret"}
ROOT = {"path": "/opt/mlflow", "state": "absent"}
ADOPTED = {"experiments": 2, "runs": 1, "models": 0, "users": 3, "artifacts": 4}


class OldHost(FakeHost):
    """A host with an old server on it, which can be adopted."""

    def __init__(self, old: dict[str, Any] | None, **facts: Any) -> None:
        super().__init__(**{"old_server": old, "adoption": "", "root": ROOT, "systemd": True, **facts})
        self.details = DETAILS
        self.pending = {"adopted-data", "unit", "admin", "service"}

    def _events(self, verb: str, data: dict[str, Any]) -> Iterator[Event]:
        if verb == "old-server":
            yield Done(self.details)
        elif verb == "adopt":
            self.before_apply()
            yield Result("adopted-data", "data of the old server", CHANGED, 1.0, "copied")
            self._end(verb)
            yield Done({"changes": 4, "checks": [], "adopted": ADOPTED, "backup": "/opt/mlflow/server/adopted"})
        else:
            yield from super()._events(verb, data)


@pytest.fixture
def host(command_line: CommandLine) -> OldHost:
    command_line.host = OldHost(LOCAL)
    return command_line.host


def test_it_is_read_planned_kept_and_adopted(command_line: CommandLine, host: OldHost) -> None:
    kept: list[str] = []
    host.before_apply = lambda: kept.append(command_line.password("server"))
    result = command_line.run("setup", "ubuntu@box", "--adopt", "--yes")
    assert result.exit_code == 0, result.output
    assert host.verbs == ["facts", "facts", "old-server", "plan", "adopt"]
    assert kept == [PASSWORD]
    assert PASSWORD not in result.output
    made = load(deployment_path("server"))
    assert (made.mlflow.port, made.mlflow.listen, made.auth.admin_username) == (5050, "0.0.0.0", "boss")
    text = result.stdout
    assert "made by a script (running, mlflow-server.service)" in text
    assert "comes with the data" in text
    assert "Adopted: 2 experiments, 1 run, 0 models, 3 users, 4 artifact files" in text
    assert "sudo rm -r /home/ubuntu/mlflow-server\n" in text
    assert "/opt/mlflow/server/adopted" in text


def test_the_keys_of_the_old_server_are_kept_and_not_shown(command_line: CommandLine, host: OldHost) -> None:
    host.changed_facts["old_server"] = OLD
    host.details = {**DETAILS, "keys": KEYS}
    document = command_line.json("setup", "ubuntu@box", "--adopt", "--yes")
    assert document["ok"] is True, document
    assert document["adopted"]["runs"] == 1
    assert "CANARY" not in str(document)
    secrets = load_secrets(deployment_path("server"))
    assert (secrets.aws_access_key_id, secrets.admin_password) == (KEYS["aws_access_key_id"], PASSWORD)
    assert load(deployment_path("server")).artifacts.credentials == "keys"
    sent = next(data for verb, data in host.requests if verb == "adopt")
    store = next(resource for resource in sent["resources"] if resource["kind"] == "StoreAccess")
    assert store["secret_access_key"] == KEYS["aws_secret_access_key"]


def test_flags_win(command_line: CommandLine, host: OldHost) -> None:
    host.changed_facts["old_server"] = OLD
    flags = ("--port", "5051", "--listen", "127.0.0.1", "--instance-role", "--region", "us-east-1")
    result = command_line.run("setup", "ubuntu@box", "--adopt", "--yes", "--name", "team", *flags)
    assert result.exit_code == 0, result.output
    made = load(deployment_path("team"))
    assert (made.mlflow.port, made.mlflow.listen) == (5051, "127.0.0.1")
    assert (made.artifacts.credentials, made.artifacts.region) == ("instance-role", "us-east-1")
    assert "rm -r /home/ubuntu/mlflow-server /etc/systemd/system/mlflow-server.service" in result.stdout


def test_a_home_is_not_named_to_rm(command_line: CommandLine, host: OldHost) -> None:
    host.changed_facts["old_server"] = {**LOCAL, "tree": "/home/mlflow"}
    assert "rm -r" not in command_line.run("setup", "ubuntu@box", "--adopt", "--yes").stdout


def test_a_dry_run_only_looks(command_line: CommandLine, host: OldHost) -> None:
    result = command_line.run("setup", "ubuntu@box", "--adopt", "--dry-run", "--exit-code")
    assert result.exit_code == ExitCode.CHANGES_PENDING
    assert "To apply: mlflow-provision setup ubuntu@box --adopt" in result.stdout
    assert command_line.run("setup", "ubuntu@box", "--adopt", "--dry-run").exit_code == 0
    assert set(host.verbs) == {"facts", "old-server", "plan"}
    assert command_line.files() == set()


@pytest.mark.usefixtures("person")
def test_no_is_no(command_line: CommandLine, host: OldHost) -> None:
    result = command_line.run("setup", "ubuntu@box", "--adopt", answers="n\n")
    assert result.exit_code == ExitCode.FAILED
    assert "adopt" not in host.verbs
    assert command_line.files() == set()


def test_a_wrong_password_is_told_before_anything_is_changed(
    command_line: CommandLine, host: OldHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", "CANARY-wrong-password")
    host.details = {**DETAILS, "administrator": {"username": "boss", "password": "", "problem": "it is another one"}}
    result = command_line.run("setup", "ubuntu@box", "--adopt", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "it is another one" in result.stderr
    assert "MLFLOW_PROVISION_ADMIN_PASSWORD" in result.stderr
    assert dict(host.requests)["old-server"]["admin_password"] == "CANARY-wrong-password"
    assert "adopt" not in host.verbs
    assert command_line.files() == set()


def test_a_failure_is_told_and_the_same_command_goes_on(command_line: CommandLine, host: OldHost) -> None:
    host.failing["adopt"] = ProvisionError("it died\nNothing is lost: the old server runs again", "mend that")
    result = command_line.run("setup", "ubuntu@box", "--adopt", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "Nothing is lost: the old server runs again" in result.stderr
    host.failing.clear()
    again = command_line.run("setup", "ubuntu@box", "--adopt", "--yes")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("phase", ["stopping", "moving", "starting", "rolling-back"])
def test_plain_setup_finishes_what_was_interrupted(command_line: CommandLine, host: OldHost, phase: str) -> None:
    command_line.run("setup", "ubuntu@box", "--adopt", "--yes")
    host.changed_facts.update(adoption=phase, unit="ours", applied={"name": "server"})
    plan = command_line.run("plan", "server")
    assert plan.exit_code == ExitCode.FAILED
    assert "finish it: mlflow-provision setup server --adopt" in plan.stderr.replace("Next: ", "")
    result = command_line.run("setup", "server", "--yes")
    assert result.exit_code == 0, result.output
    assert "its adoption was interrupted, and goes on" in result.stdout
    assert host.verbs[-1] == "adopt"


def test_what_was_adopted_is_an_ordinary_deployment(command_line: CommandLine, host: OldHost) -> None:
    command_line.run("setup", "ubuntu@box", "--adopt", "--yes")
    host.changed_facts.update(adoption="adopted", unit="ours", old_server=None)
    host.pending = set()
    result = command_line.run("setup", "server", "--adopt", "--yes")
    assert "No changes" in result.stdout
    assert host.verbs[-2:] == ["facts", "plan"]


def test_nothing_to_adopt(command_line: CommandLine, host: OldHost) -> None:
    host.changed_facts["old_server"] = None
    result = command_line.run("setup", "ubuntu@box", "--adopt", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "there is no old server to adopt on this host" in result.stderr
    assert set(host.verbs) == {"facts"}


@pytest.mark.usefixtures("host")
def test_only_root_can_adopt(command_line: CommandLine) -> None:
    result = command_line.run("setup", "local", "--adopt", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "a server is adopted as root, with systemd" in result.stderr
