"""`setup` and `plan`: the order of things, what is kept, and how each end looks."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from mlflow_provision.config import deployment_path, load
from mlflow_provision.errors import ExitCode, ProvisionError
from tests.unit.conftest import PASSWORD, CommandLine

APPLIED = {"mlflow_version": "3.17.2", "artifacts": "/home/ana/mlflow/server/data/artifacts"}


def test_first_setup_looks_plans_applies_and_verifies(command_line: CommandLine) -> None:
    command_line.host.pending = {"root", "service"}
    result = command_line.run("setup", "local", "--yes")
    assert result.exit_code == 0, result.output
    assert command_line.host.verbs == ["facts", "plan", "apply", "verify"]
    assert command_line.host.requests[-1][1]["level"] == "full"
    assert command_line.host.closed
    assert "2 changes" in result.stdout
    assert "local runs MLflow 3.17.2 and is verified" in result.stdout
    assert load(deployment_path("local")).scope == "user"


def test_the_password_is_kept_before_anything_is_applied_and_never_printed(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}
    at_apply: list[str] = []
    command_line.host.before_apply = lambda: at_apply.append(command_line.password("local"))
    result = command_line.run("setup", "local", "--yes")
    password = command_line.password("local")
    assert at_apply == [password] and len(password) >= 12
    assert password not in result.output
    assert "local.secrets.toml" in result.stdout and "mlflow-provision env local" in result.stdout


def test_the_last_words_of_a_first_setup_can_be_pasted(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}
    said = command_line.run("setup", "ubuntu@box", "--yes").stdout.splitlines()
    assert "  Tunnel    mlflow-provision tunnel server --background --local-port 5000" in said
    assert "  Web page  http://127.0.0.1:5000 (through the tunnel)" in said
    assert "            (mlflow-provision open server does both)" in said
    *_, heading, first, second, third = said
    assert heading == "Three lines of Python that use it, in any Python that has mlflow:"
    compile("\n".join([first, second, third]), "pasted", "exec")
    assert second == 'os.environ |= json.load(os.popen("mlflow-provision env server --format json"))'
    assert max(map(len, (first, second, third))) <= 80


def test_the_password_is_kept_even_if_applying_fails(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}
    command_line.host.failing["apply"] = ProvisionError("the server started and died:\nImportError: no", "read the log")
    result = command_line.run("setup", "local", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert command_line.password("local")
    assert "verify" not in command_line.host.verbs
    assert result.stderr == "Error: the server started and died:\n  ImportError: no\n  Next: read the log\n"
    assert "FAILED  resource service" in result.stdout


def test_nothing_to_change_asks_nothing_and_looks_quickly(command_line: CommandLine) -> None:
    command_line.known()
    command_line.host.changed_facts = {"applied": APPLIED}
    result = command_line.run("setup", "server")
    assert result.exit_code == 0, result.output
    assert command_line.host.verbs == ["facts", "plan"]
    assert command_line.host.requests[-1][1]["verify"]["level"] == "quick"
    assert "No changes: server is as it should be" in result.stdout


def test_a_quick_look_that_fails_is_an_error(command_line: CommandLine) -> None:
    command_line.known()
    command_line.host.failed_checks = ("is healthy",)
    result = command_line.run("setup", "server")
    assert result.exit_code == ExitCode.FAILED
    assert "FAILED  is healthy" in result.stdout and "1 check of 3 failed" in result.stderr


@pytest.mark.parametrize(
    ("first", "pending", "kill"),
    [
        (True, {"server-env", "service"}, True),
        (False, {"server-env", "service"}, False),
        (False, {"unit", "service"}, True),
        (False, {"start-script", "service"}, True),
        (False, {"etc"}, False),
    ],
)
def test_a_server_is_killed_only_where_what_brings_it_back_may_have_changed(
    command_line: CommandLine, first: bool, pending: set[str], kill: bool
) -> None:
    command_line.known()
    command_line.host.changed_facts["applied"] = None if first else {"version": "0.1"}
    command_line.host.pending = pending
    command_line.run("setup", "server", "--yes")
    assert command_line.host.requests[-1][1]["kill"] is kill


def test_without_terminal_and_yes_nothing_happens(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}
    result = command_line.run("setup", "local", "--port", "5005")
    assert result.exit_code == ExitCode.USAGE
    assert "mlflow-provision setup local --port 5005 --yes" in result.stderr
    assert command_line.host.verbs == ["facts", "plan"] and not command_line.files()


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize(
    ("answer", "code", "applied"), [("y\n", 0, True), ("n\n", 1, False), ("\n", 1, False), ("", 130, False)]
)
def test_a_person_is_asked(command_line: CommandLine, answer: str, code: int, applied: bool) -> None:
    command_line.host.pending = {"service"}
    result = command_line.run("setup", "local", answers=answer)
    assert result.exit_code == code, result.output
    assert ("apply" in command_line.host.verbs) is applied
    assert applied or not command_line.files()
    assert applied or "othing was changed" in result.output


def test_dry_run_touches_nothing_and_tells_by_its_exit_code(command_line: CommandLine) -> None:
    command_line.host.pending = {"server.env"}
    result = command_line.run("setup", "local", "--dry-run", "--exit-code")
    assert result.exit_code == ExitCode.CHANGES_PENDING
    assert "    -old\n    +new" in result.stdout
    assert "To apply: mlflow-provision setup local\n" in result.stdout
    assert command_line.host.verbs == ["facts", "plan"] and not command_line.files()
    assert command_line.run("setup", "local", "--dry-run").exit_code == 0
    command_line.host.pending = set()
    assert command_line.run("setup", "local", "--dry-run", "--exit-code").exit_code == 0


def test_plan_of_a_deployment(command_line: CommandLine) -> None:
    path = command_line.known()
    path.chmod(0o444)
    before = path.read_bytes()
    command_line.host.pending = {"server.env"}
    result = command_line.run("plan", "--exit-code")
    assert result.exit_code == ExitCode.CHANGES_PENDING
    assert command_line.host.verbs == ["facts", "plan"]
    assert path.read_bytes() == before
    assert "To apply: mlflow-provision setup server\n" in result.stdout


def test_a_first_plan_to_confirm_is_short_and_a_later_one_has_diffs(command_line: CommandLine) -> None:
    command_line.host.pending = {"server.env"}
    assert "+new" not in command_line.run("setup", "local", "--yes").stdout
    command_line.host.pending = {"server.env"}
    command_line.host.changed_facts = {"applied": {**APPLIED, "artifacts": "/home/ana/mlflow/local/data/artifacts"}}
    assert "+new" in command_line.run("setup", "local", "--yes").stdout


def test_exit_code_without_dry_run_is_refused(command_line: CommandLine) -> None:
    assert command_line.run("setup", "local", "--exit-code").exit_code == ExitCode.USAGE


def test_all_problems_at_once_and_nothing_kept(command_line: CommandLine) -> None:
    command_line.host.changed_facts = {"disk_free": 1 << 20, "memory": 1 << 20}
    result = command_line.run("setup", "local", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "2 things stand in the way" in result.stderr
    assert "memory is too little" in result.stderr and "free at" in result.stderr
    assert command_line.host.verbs == ["facts"] and not command_line.files()


def test_the_hosts_clock_is_compared_with_ours(command_line: CommandLine) -> None:
    command_line.host.changed_facts = {"time": time.time() - 3600}
    assert "60 minutes behind" in command_line.run("setup", "ubuntu@box", "--yes").stderr


def test_here_a_taken_default_port_gives_way(command_line: CommandLine) -> None:
    owner = {"pid": 1, "name": "nginx", "unit": "nginx.service", "ours": False}
    command_line.host.changed_facts = {"port_owner": owner}
    command_line.host.pending = {"service"}
    result = command_line.run("setup", "local", "--yes")
    assert result.exit_code == 0, result.output
    assert "port 5000 is used by nginx" in result.stdout
    assert load(deployment_path("local")).mlflow.port == 5001


@pytest.mark.parametrize("arguments", [["local", "--port", "5000"], ["ubuntu@box"]])
def test_a_port_that_was_asked_for_does_not(command_line: CommandLine, arguments: list[str]) -> None:
    owner = {"pid": 1, "name": "nginx", "unit": "nginx.service", "ours": False}
    command_line.host.changed_facts = {"port_owner": owner}
    result = command_line.run("setup", *arguments, "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "port 5000 is used by nginx" in result.stderr and "--port 5001" in result.stderr


def test_our_own_server_on_the_port_is_no_obstacle(command_line: CommandLine) -> None:
    command_line.known("local", "local", scope="user")
    command_line.host.changed_facts = {"port_owner": {"pid": 1, "name": "python", "unit": "", "ours": True}}
    assert command_line.run("setup", "local").exit_code == 0


def test_latest_is_asked_of_the_index_and_kept_as_a_version(command_line: CommandLine) -> None:
    command_line.host.pending = {"release"}
    command_line.host.changed_facts = {
        "index": {"error": "", "hint": "", "versions": ["3.19.1", "3.17.2"], "half_published": []}
    }
    assert command_line.run("setup", "local", "--mlflow-version", "latest", "--yes").exit_code == 0
    assert load(deployment_path("local")).mlflow.version == "3.19.1"
    assert command_line.host.requests[0][1]["release"] == ""
    assert command_line.host.requests[1][1]["release"].startswith("3.19.1-")


def test_latest_without_an_index(command_line: CommandLine) -> None:
    command_line.host.changed_facts = {
        "index": {"error": "no way out", "hint": "", "versions": [], "half_published": []}
    }
    result = command_line.run("setup", "local", "--mlflow-version", "latest", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "no way out" in result.stderr and "--mlflow-version 3.17.2" in result.stderr


def test_the_password_of_an_existing_server_cannot_be_made_up(command_line: CommandLine) -> None:
    command_line.host.changed_facts = {"admin_exists": True}
    result = command_line.run("setup", "ubuntu@box", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "MLFLOW_PROVISION_ADMIN_PASSWORD" in result.stderr and not command_line.files()


def test_a_password_from_the_environment_is_not_written(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", PASSWORD)
    command_line.host.pending = {"service"}
    result = command_line.run("setup", "ubuntu@box", "--yes")
    assert result.exit_code == 0, result.output
    assert command_line.files() == {"server.toml"}
    assert PASSWORD not in result.output and "in the variable MLFLOW_PROVISION_ADMIN_PASSWORD" in result.stdout
    assert PASSWORD in str(command_line.host.requests)


def test_keys_of_a_profile_reach_the_host_and_no_file_or_screen(
    command_line: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws").write_text(
        "[team]\naws_access_key_id = AKIACANARY\naws_secret_access_key = CANARY/secret\nregion = us-west-1\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    command_line.host.pending = {"store"}
    result = command_line.run("setup", "ubuntu@box", "--artifacts", "s3://bucket/ml", "--aws-profile", "team", "--yes")
    assert result.exit_code == 0, result.output
    assert load(deployment_path("server")).artifacts.region == "us-west-1"
    assert "CANARY/secret" in str(command_line.host.requests)
    kept = "".join(path.read_text() for path in command_line.folder.iterdir())
    assert "CANARY" not in kept + result.output


def test_keys_that_are_nowhere(command_line: CommandLine) -> None:
    result = command_line.run("setup", "ubuntu@box", "--artifacts", "s3://bucket/ml", "--aws-keys", "--yes")
    assert result.exit_code == ExitCode.USAGE
    assert "MLFLOW_PROVISION_AWS_ACCESS_KEY_ID" in result.stderr and not command_line.host.requests


@pytest.mark.parametrize("code", [ExitCode.LOCKED, ExitCode.UNREACHABLE, ExitCode.FAILED])
def test_the_exit_code_says_what_kind_of_end(command_line: CommandLine, code: ExitCode) -> None:
    command_line.host.pending = {"service"}
    command_line.host.failing["apply"] = ProvisionError("it ended", "do this with NAME", code)
    result = command_line.run("setup", "local", "--yes")
    assert result.exit_code == code
    assert "Next: do this with local" in result.stderr


def test_checks_that_fail_are_an_error(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}
    command_line.host.failed_checks = ("takes an artifact",)
    result = command_line.run("setup", "local", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "FAILED  takes an artifact  as measured" in result.stdout
    assert "1 check of 3 failed: takes an artifact" in result.stderr


def test_ctrl_c_asks_the_host_to_stop_and_says_how_to_go_on(command_line: CommandLine) -> None:
    host = command_line.host
    host.pending = {"service"}
    host.failing["apply"] = ProvisionError("stopped on request", code=ExitCode.INTERRUPTED)

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 5
        while not host.interrupted and time.monotonic() < deadline:
            time.sleep(0.01)

    host.before_apply = press
    result = command_line.run("setup", "local", "--yes")
    assert host.interrupted
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "Stopping after the current step" in result.stdout
    assert "mlflow-provision setup local --yes" in result.stderr


def test_a_second_ctrl_c_leaves_at_once(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}

    def press_twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    command_line.host.before_apply = press_twice
    result = command_line.run("setup", "local", "--yes")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert "Error: interrupted" in result.stderr and "verify" not in command_line.host.verbs
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_unforeseen_error_is_one_sentence_without_its_words(command_line: CommandLine) -> None:
    def break_down() -> None:
        raise ValueError("CANARY")

    command_line.host.pending = {"service"}
    command_line.host.before_apply = break_down
    result = command_line.run("setup", "local", "--yes")
    assert result.exit_code == ExitCode.FAILED
    assert "a bug of ours: ValueError" in result.stderr and "--debug" in result.stderr
    assert "Traceback" not in result.stderr and "CANARY" not in result.stderr
    command_line.host.pending = {"service"}
    assert isinstance(command_line.run("setup", "local", "--yes", "--debug").exception, ValueError)


def test_debug_shows_the_traceback_of_a_known_error(command_line: CommandLine) -> None:
    command_line.host.failing["plan"] = ProvisionError("it ended")
    result = command_line.run("setup", "local", "--yes", "--debug")
    assert "Error: it ended" in result.stderr and "Traceback" in result.stderr


def test_json_is_one_document(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}
    document = command_line.json("setup", "ubuntu@box", "--yes")
    assert (document["command"], document["deployment"], document["ok"], document["exit_code"]) == (
        "setup",
        "server",
        True,
        0,
    )
    assert document["changes"] == 1 and document["error"] is None and document["schema"] == 1
    service = [step for step in document["steps"] if step["step"] == "service"]
    assert service[0]["verdict"] == "changed" and service[0]["diff"].startswith("---")
    assert [check["verdict"] for check in document["verify"]] == ["ok", "ok", "ok"]
    assert document["server"]["url"] == "http://127.0.0.1:5000"
    assert document["server"]["tunnel"] == "mlflow-provision tunnel server --background --local-port 5000"
    assert "details" not in document


def test_json_of_a_failure(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}
    command_line.host.failing["apply"] = ProvisionError("it ended", "do this", ExitCode.LOCKED)
    document = command_line.json("setup", "local", "--yes")
    assert document["error"] == {"message": "it ended", "hint": "do this", "code": 5}
    assert document["ok"] is False and document["exit_code"] == 5
    assert document["steps"][-1] == {
        "step": "service",
        "title": "resource service",
        "verdict": "failed",
        "seconds": 0.2,
        "summary": "it ended",
        "diff": "",
    }


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_who_shows_no_plan_asks_nothing(command_line: CommandLine, flag: str) -> None:
    command_line.host.pending = {"service"}
    result = command_line.run("setup", "local", flag, answers="y\n")
    assert result.exit_code == ExitCode.USAGE and "apply" not in command_line.host.verbs


def test_quiet_prints_errors_only(command_line: CommandLine) -> None:
    command_line.host.pending = {"service"}
    assert command_line.run("setup", "local", "--yes", "--quiet").output == ""
    command_line.host.failed_checks = ("is healthy",)
    assert command_line.run("setup", "local", "--yes", "--quiet").output.startswith("Error: ")


def test_without_a_terminal_saving_only_needs_the_recommended_answers(command_line: CommandLine) -> None:
    result = command_line.run("setup", "ubuntu@box", "--save-only", "--yes")
    assert result.exit_code == ExitCode.USAGE and command_line.host.verbs == []
    assert "this is missing: --defaults\n" in result.stderr
    assert "mlflow-provision setup ubuntu@box --save-only --defaults\n" in result.stderr
