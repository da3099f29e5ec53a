"""`run`: the program has the server's address and login, and everything else is as if nobody stood between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from mlflow_provision import tunnel
from mlflow_provision.client import beside
from mlflow_provision.config import Deployment, Secrets, save, save_secrets, secrets_path
from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.tunnel import Opened
from tests.unit.conftest import PASSWORD, CommandLine

OURS = [sys.executable, "-m", "mlflow_provision", "run"]
SHOW = "import os; print([os.environ[f'MLFLOW_TRACKING_{name}'] for name in ('URI', 'USERNAME', 'PASSWORD')])"
SHOWN = f"['http://127.0.0.1:5000', 'admin', '{PASSWORD}']\n"
# says which signals it gets, each as it comes, and ends by itself soon after the first
COUNT = """
import signal, sys, time
numbers = []
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), lambda number, frame: numbers.append(number))
print("ready", flush=True)
begun = time.monotonic()
while not numbers and time.monotonic() - begun < 20:
    time.sleep(0.01)
time.sleep(0.4)
print("got", *[signal.Signals(number).name for number in numbers], flush=True)
sys.exit(9)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An operator with one deployment, on this machine; no server is needed to run a program."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL", "PYTHONPATH")}
    folder = tmp_path / "config"
    folder.mkdir()
    save(Deployment("lab", "local", scope="user"), folder / "lab.toml")
    save_secrets(folder / "lab.toml", Secrets(admin_password=PASSWORD))
    return {
        **kept,
        "HOME": str(tmp_path),
        "MLFLOW_PROVISION_CONFIG_DIR": str(folder),
        "MLFLOW_PROVISION_STATE_DIR": str(tmp_path / "state"),
    }


def run(environment: dict[str, str], *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*OURS, *words], env=environment, input=given, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", [(), ("lab",)])
def test_the_program_gets_address_and_login_and_nothing_of_ours_is_printed(
    environment: dict[str, str], name: tuple[str, ...]
) -> None:
    process = run(environment, *name, "--", sys.executable, "-c", SHOW)
    assert (process.returncode, process.stdout, process.stderr) == (0, SHOWN, "")


def test_what_it_reads_and_writes_is_untouched(environment: dict[str, str]) -> None:
    process = run(environment, "--", "sh", "-c", "cat; echo err >&2; exit 43", given="in\n")
    assert (process.returncode, process.stdout, process.stderr) == (43, "in\n", "err\n")


def test_its_arguments_are_its_own(environment: dict[str, str]) -> None:
    words = ("--debug", "-h", "--", "two words", "", "$HOME")
    process = run(environment, "lab", "--", sys.executable, "-c", "import sys; print(sys.argv[1:])", *words)
    assert process.stdout == f"{list(words)}\n", process.stderr


def test_the_rest_of_its_environment_is_ours(environment: dict[str, str]) -> None:
    mine = {"MINE": "1", "MLFLOW_TRACKING_URI": "http://elsewhere", "MLFLOW_TRACKING_USERNAME": "somebody"}
    process = run({**environment, **mine}, "--", sys.executable, "-c", f"{SHOW}; print(os.environ['MINE'])")
    assert process.stdout == SHOWN + "1\n"


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_the_password_is_in_no_argument_list(environment: dict[str, str]) -> None:
    look = "cat /proc/$$/cmdline /proc/$PPID/cmdline"
    process = run(environment, "--", "sh", "-c", look)
    assert "mlflow_provision" in process.stdout and PASSWORD not in process.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Next: mlflow-provision run NAME -- python train.py"),
        (("lab",), "Next: mlflow-provision run NAME -- python train.py"),
        (("lab", "--"), "No program follows --"),
        (("python", "x.py", "--lr", "3"), "Next: mlflow-provision run -- python x.py --lr 3"),
        (("lab", "python", "x.py"), "Next: mlflow-provision run lab -- python x.py"),
        (("lab", "x", "--", "true"), "only a NAME comes before --, not: lab x"),
        (("--jsn", "--", "true"), "only a NAME comes before --, not: --jsn"),
        (("nobody", "--", "true"), "there is no deployment"),
    ],
)
def test_wrong_usage(environment: dict[str, str], words: tuple[str, ...], said: str) -> None:
    process = run(environment, *words)
    assert process.returncode == ExitCode.USAGE
    assert said in process.stderr and process.stdout == ""


def test_a_name_is_needed_where_there_are_more(environment: dict[str, str]) -> None:
    folder = Path(environment["MLFLOW_PROVISION_CONFIG_DIR"])
    save(Deployment("other", "local", scope="user"), folder / "other.toml")
    process = run(environment, "--", "true")
    assert process.returncode == ExitCode.USAGE and "lab, other" in process.stderr


def test_exit_codes_of_what_cannot_be_run_are_those_of_shells(environment: dict[str, str], tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("no program")
    process = run(environment, "--", "no-such-program-anywhere")
    assert process.returncode == 127 and "not found" in process.stderr
    assert run(environment, "--", str(there)).returncode == 126
    there.chmod(0o755)
    process = run(environment, "--", str(there))
    assert process.returncode == 126 and process.stderr.count("\n") == 1
    assert run(environment, "--", str(tmp_path)).returncode == 126


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_that_a_signal_killed(environment: dict[str, str], number: signal.Signals) -> None:
    assert run(environment, "--", "sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"])
def test_a_signal_to_us_reaches_the_program_once(environment: dict[str, str], name: str) -> None:
    """Ours is a session of its own, without a terminal: what a service manager or a notebook sends."""
    process = subprocess.Popen(
        [*OURS, "--", sys.executable, "-c", COUNT, name],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    assert process.stdout.read() == f"got {name}\n"
    assert process.wait(timeout=30) == 9


def test_ctrl_c_reaches_the_program_once_and_we_wait_for_it(environment: dict[str, str]) -> None:
    variables = {**environment, "TERM": "dumb"}
    child = pexpect.spawn(
        OURS[0],
        [*OURS[1:], "--", sys.executable, "-c", COUNT, "SIGINT"],
        env=variables,
        encoding="utf-8",
        timeout=30,
    )
    child.expect("ready\r\n")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.before.replace("^C", "") == "got SIGINT\r\n" and child.exitstatus == 9


def test_what_was_ignored_before_us_stays_ignored(environment: dict[str, str]) -> None:
    """As with nohup."""
    show = "import signal; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    words = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *OURS, "--", sys.executable, "-c", show]
    assert subprocess.run(words, env=environment, capture_output=True, text=True).stdout == "True\n"


class FakeTunnel:
    """Stands for the tunnel package: remembers what was opened and closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.problem: ProvisionError | None = None
        monkeypatch.setattr(tunnel, "opened", self._opened)

    def _opened(self, deployment: Deployment, path: Path, local_port: int | None = None) -> Opened:
        if self.problem:
            raise self.problem
        self.log.append(f"open {deployment.name}")
        way = Opened("http://127.0.0.1:5077", 5077, started_here=True)
        way.close = lambda: self.log.append("close")  # type: ignore[method-assign]
        return way


class TestTunnel:
    @pytest.fixture
    def fake(self, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> FakeTunnel:
        command_line.known("prod")
        return FakeTunnel(monkeypatch)

    @pytest.mark.parametrize(("program", "code"), [("true", 0), ("false", 1)])
    def test_it_is_closed_whatever_the_program_did(
        self, command_line: CommandLine, fake: FakeTunnel, program: str, code: int
    ) -> None:
        assert command_line.run("run", "prod", "--", program).exit_code == code
        assert fake.log == ["open prod", "close"]

    def test_its_address_is_what_the_program_gets(
        self, command_line: CommandLine, fake: FakeTunnel, capfd: pytest.CaptureFixture[str]
    ) -> None:
        command_line.run("run", "prod", "--", sys.executable, "-c", SHOW)
        assert "http://127.0.0.1:5077" in capfd.readouterr().out

    def test_it_is_closed_where_the_password_is_not_known(self, command_line: CommandLine, fake: FakeTunnel) -> None:
        secrets_path(command_line.known("prod")).unlink()
        result = command_line.run("run", "prod", "--", "true")
        assert result.exit_code == ExitCode.FAILED and "MLFLOW_PROVISION_ADMIN_PASSWORD" in result.stderr
        assert fake.log == ["open prod", "close"]

    def test_none_is_opened_for_a_program_that_is_not_there(self, command_line: CommandLine, fake: FakeTunnel) -> None:
        assert command_line.run("run", "prod", "--", "no-such-program-anywhere").exit_code == 127
        assert fake.log == []

    def test_a_host_that_is_not_reached(self, command_line: CommandLine, fake: FakeTunnel) -> None:
        fake.problem = ProvisionError("it does not answer", "wait", ExitCode.UNREACHABLE)
        result = command_line.run("run", "prod", "--", "true")
        assert result.exit_code == ExitCode.UNREACHABLE and result.stdout == ""
        assert result.stderr == "Error: it does not answer\n  Next: wait\n"


def test_a_proxy_does_not_get_what_is_for_this_machine() -> None:
    needed = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001"}
    assert "NO_PROXY" not in beside(needed, {})
    spared = beside(needed, {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "intra.example,localhost"})
    assert spared["NO_PROXY"] == "intra.example,localhost,127.0.0.1"
    assert spared["no_proxy"] == "127.0.0.1,localhost"
    elsewhere = {"MLFLOW_TRACKING_URI": "http://10.0.0.7:5000"}
    assert "NO_PROXY" not in beside(elsewhere, {"HTTP_PROXY": "http://proxy:3128"})


def test_artifacts_go_through_the_server_unless_somebody_decided_otherwise() -> None:
    needed = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5001"}
    detours = {f"MLFLOW_ENABLE_PROXY_MULTIPART_{way}": "false" for way in ("DOWNLOAD", "UPLOAD")}
    assert beside(needed, {}) == {**needed, **detours}
    assert beside(needed, dict.fromkeys(detours, "true")) == needed


@pytest.mark.parametrize(("words", "expected"), [("run la", "plain,lab"), ("run lab -- py", "file,py")])
def test_completion(environment: dict[str, str], words: str, expected: str) -> None:
    typed = "mlflow-provision " + words
    asked = {
        **environment,
        "_MLFLOW_PROVISION_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
    }
    process = subprocess.run(OURS[:-1], env=asked, capture_output=True, text=True, timeout=60)
    assert process.stdout.splitlines() == [expected]
