"""`run`, `open` and `connect()` on a real server: the program notices nothing but the variables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.served import NAME, Served
from tests.e2e.terminal import Terminal
from tests.e2e.waiting import until

ASK = """
import base64, os, urllib.request
uri, user, password = (os.environ["MLFLOW_TRACKING_" + name] for name in ("URI", "USERNAME", "PASSWORD"))
token = base64.b64encode(f"{user}:{password}".encode()).decode()
asked = urllib.request.Request(uri + "/version", headers={"Authorization": "Basic " + token})
print(urllib.request.urlopen(asked).read().decode())
"""


def test_the_program_reaches_the_server_and_the_tunnel_ends_with_it(served: Served) -> None:
    finished = served.operator.run("run", NAME, "--", sys.executable, "-c", ASK)
    assert finished.stdout == "3.17.2\n" and finished.stderr == ""
    served.until_no_tunnel()


def test_a_tunnel_that_ran_before_runs_on(served: Served) -> None:
    port = served.opened()["port"]
    echoed = served.operator.run("run", NAME, "--", "sh", "-c", "echo $MLFLOW_TRACKING_URI").stdout
    assert echoed == f"http://127.0.0.1:{port}\n"
    time.sleep(1.5)
    assert [tunnel["port"] for tunnel in served.tunnels()] == [port]


def test_two_programs_share_a_tunnel_which_ends_with_the_last(served: Served) -> None:
    first = served.operator.start("run", NAME, "--", "sleep", "4")
    _until_tunnel(served)
    served.operator.run("run", NAME, "--", "true")
    time.sleep(1)
    assert len(served.tunnels()) == 1
    assert first.wait(30) == 0
    served.until_no_tunnel()


def test_a_killed_run_leaves_no_tunnel(served: Served) -> None:
    run = served.operator.start("run", NAME, "--", "sleep", "1")
    _until_tunnel(served)
    run.kill()
    run.communicate()
    served.until_no_tunnel()


def test_a_tunnel_of_a_run_is_kept_when_somebody_asks_for_one(served: Served) -> None:
    run = served.operator.start("run", NAME, "--", "sleep", "2")
    _until_tunnel(served)
    assert served.opened()["mode"] == "background"
    run.communicate(timeout=30)
    time.sleep(1.5)
    assert len(served.tunnels()) == 1


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["no-such-program"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_the_exit_code_is_that_of_the_program(served: Served, argv: list[str], code: int) -> None:
    served.operator.run("run", NAME, "--", *argv, code=code)


def test_input_output_and_errors_are_the_programs_own(served: Served) -> None:
    data = os.urandom(200_000)
    finished = subprocess.run(
        [sys.executable, "-m", "mlflow_provision", "run", NAME, "--", "sh", "-c", "cat; echo --json >&2"],
        env=served.operator.environment,
        cwd=served.operator.home,
        input=data,
        capture_output=True,
        timeout=60,
    )
    assert finished.stdout == data and finished.stderr == b"--json\n" and finished.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_program_and_it_decides(served: Served, number: signal.Signals, tmp_path: Path) -> None:
    program = f"trap 'echo got it; exit 5' {number.name[3:]}; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    run = subprocess.Popen(
        [sys.executable, "-m", "mlflow_provision", "run", NAME, "--", "sh", "-c", program],
        env=served.operator.environment,
        cwd=served.operator.home,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until((tmp_path / "ready").exists, within=15)
    run.send_signal(number)
    out, _ = run.communicate(timeout=20)
    assert (out, run.returncode) == ("got it\n", 5)


def test_ctrl_c_at_a_terminal_reaches_the_program_once(served: Served) -> None:
    program = "trap 'echo CAUGHT' INT; echo ready; sleep 3; sleep 1; echo done; exit 4"
    argv = [sys.executable, "-m", "mlflow_provision", "run", NAME, "--", "sh", "-c", program]
    with Terminal(argv, served.operator.environment) as terminal:
        terminal.waits_for("^ready")
        terminal.press("ctrl-c")
        terminal.waits_for("^done")
        assert terminal.ended() == 4
        assert str(terminal).count("CAUGHT") == 1 and "Traceback" not in str(terminal)


def test_open_starts_the_browser(served: Served, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/shown\n')
    browser.chmod(0o755)
    served.operator.variables["BROWSER"] = f"{browser} %s"
    try:
        said = served.operator.run("open", NAME).stdout
    finally:
        del served.operator.variables["BROWSER"]
    (tunnel,) = served.tunnels()
    assert (tmp_path / "shown").read_text().strip() == tunnel["url"] and tunnel["url"] in said
    assert served.password not in said
    page = served.operator.json("open", NAME)["page"]
    assert page == {
        "url": tunnel["url"],
        "browser": False,
        "username": "admin",
        "password_in": str(served.operator.config / f"{NAME}.secrets.toml"),
    }


def test_connect_in_python(served: Served) -> None:
    program = f"""
import os, mlflow_provision
before = dict(os.environ)
with mlflow_provision.connect("{NAME}") as way:
    assert isinstance(way, str) and way == way.uri == os.environ["MLFLOW_TRACKING_URI"], way
{chr(10).join("    " + line for line in ASK.splitlines())}
assert dict(os.environ) == before
mlflow_provision.connect("{NAME}")
{ASK}
"""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=served.operator.environment,
        cwd=served.operator.home,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (finished.stdout, finished.returncode) == ("3.17.2\n3.17.2\n", 0), finished.stderr
    served.until_no_tunnel()


def _until_tunnel(served: Served) -> None:
    until(lambda: [tunnel["state"] for tunnel in served.tunnels()] == ["up"], within=15)
