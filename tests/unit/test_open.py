"""`open`: the web page in the browser, or at least its address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_provision.config import Deployment, MLflow, secrets_path
from mlflow_provision.errors import ExitCode
from mlflow_provision.tunnel import State, Status, opening
from tests.unit.conftest import PASSWORD, CommandLine

GRAPHICAL = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was asked to show; there is one."""
    asked: list[str] = []
    monkeypatch.setenv("BROWSER", "firefox")

    def show(url: str) -> bool:
        asked.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", show)
    return asked


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in GRAPHICAL:
        monkeypatch.delenv(name, raising=False)


class Tunnels:
    """Stands for tunnels in the background: what was asked for, and how it is."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.state = State.UP

    def kept(self, deployment: Deployment, path: Path, local_port: int | None = None) -> tuple[Status, bool]:
        self.asked.append(deployment.name)
        reason = "" if self.state is State.UP else "503 from /health"
        status = Status(deployment.name, deployment.host, "127.0.0.1:5000", 5077, self.state, reason)
        return status, True


@pytest.fixture
def tunnels(monkeypatch: pytest.MonkeyPatch) -> Tunnels:
    fake = Tunnels()
    monkeypatch.setattr(opening, "kept", fake.kept)
    return fake


def test_a_server_of_ones_own(command_line: CommandLine, shown: list[str], tunnels: Tunnels) -> None:
    path = command_line.known("lab", "local", mlflow=MLflow(port=5005))
    result = command_line.run("open")
    assert result.exit_code == 0, result.output
    assert shown == ["http://127.0.0.1:5005"] and tunnels.asked == []
    assert result.stdout.splitlines() == [
        "  Web page  http://127.0.0.1:5005",
        "  User      admin",
        f"  Password  in {secrets_path(path)}",
        "            (mlflow-provision env lab prints it)",
    ]


def test_through_a_tunnel(command_line: CommandLine, shown: list[str], tunnels: Tunnels) -> None:
    command_line.known("prod")
    result = command_line.run("open", "prod")
    assert shown == ["http://127.0.0.1:5077"] and tunnels.asked == ["prod"]
    assert "mlflow-provision tunnel --stop prod" in result.stdout and PASSWORD not in result.stdout


def test_a_server_that_everybody_reaches(command_line: CommandLine, shown: list[str], tunnels: Tunnels) -> None:
    command_line.known("prod", mlflow=MLflow(listen="0.0.0.0"))
    command_line.run("open", "prod")
    assert shown == ["http://box:5000"] and tunnels.asked == []


def test_a_server_that_does_not_answer_is_not_shown(
    command_line: CommandLine, shown: list[str], tunnels: Tunnels
) -> None:
    command_line.known("prod")
    tunnels.state = State.MLFLOW_DOWN
    result = command_line.run("open", "prod")
    assert result.exit_code == ExitCode.FAILED and "503 from /health" in result.stderr and shown == []


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_it_says_so(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    command_line.known("lab", "local")
    monkeypatch.setattr("webbrowser.open", lambda url: pytest.fail("there is none"))
    result = command_line.run("open")
    assert result.exit_code == 0
    assert "http://127.0.0.1:5000  (there is no browser here to open it)" in result.stdout


def test_a_password_that_is_not_here(
    command_line: CommandLine, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets_path(command_line.known("lab", "local")).unlink()
    assert "Password  not known on this machine" in command_line.run("open").stdout
    assert command_line.json("open")["page"]["password_in"] is None
    monkeypatch.setenv("MLFLOW_PROVISION_ADMIN_PASSWORD", PASSWORD)
    assert "in the variable MLFLOW_PROVISION_ADMIN_PASSWORD" in command_line.run("open").stdout


def test_the_browser_of_the_variable_gets_the_url_and_stdout_stays_ours(
    command_line: CommandLine, tmp_path: Path
) -> None:
    command_line.known("lab", "local")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho noise\n')
    browser.chmod(0o755)
    process = subprocess.run(
        [sys.executable, "-m", "mlflow_provision", "open", "--json"],
        env={**os.environ, "BROWSER": str(browser), "MLFLOW_PROVISION_CONFIG_DIR": str(command_line.folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    page = json.loads(process.stdout)["page"]
    assert page["browser"] is True and page["username"] == "admin" and page["url"] == "http://127.0.0.1:5000"
    assert (tmp_path / "asked").read_text() == "http://127.0.0.1:5000\n"
    assert process.stderr == "noise\n"
