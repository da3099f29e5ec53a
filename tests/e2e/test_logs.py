"""`logs`: no line is lost or told twice, whatever happens on the host meanwhile; errors whole; no secret."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.logs.mask import STARS
from tests.e2e import teamwork
from tests.e2e.at_home import at_home
from tests.e2e.operator import Operator
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, UNIT, Served
from tests.e2e.waiting import until
from tests.lab import LabHost

BASE = f"/opt/mlflow/{NAME}"
URL = "http://127.0.0.1:5000"
MINE = "mine"

# Asks the server all the time, every time for something else, and notes to what it got an answer.
ASKER = """
import itertools, sys, time, urllib.error, urllib.request
for number in itertools.count():
    try:
        urllib.request.urlopen(f"{sys.argv[1]}/asked?number={number}.", timeout=20).close()
    except urllib.error.HTTPError:
        pass
    except OSError:
        time.sleep(0.2)
        continue
    print(number, flush=True)
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def served(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that these tests may break."""
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as served:
        yield served


@dataclass
class Followed:
    """`logs -f --json`, and what it told."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        return [event["line"] for event in self.events if event.get("event") == "line"]

    def reaches(self, words: str) -> None:
        until(lambda: any(words in line for line in self.lines), lambda: self.lines[-5:])

    def between(self, first: str, last: str) -> list[str]:
        return between(self.lines, first, last)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))


@contextmanager
def followed(operator: Operator, name: str) -> Iterator[Followed]:
    """Until the block ends, with Ctrl-C."""
    found = Followed(operator.start("logs", name, "--follow", "--json", "--probes", "--lines", "1"))
    reader = threading.Thread(target=found._read, daemon=True)
    reader.start()
    try:
        yield found
    finally:
        found.process.send_signal(signal.SIGINT)
        found.process.wait(30)
        reader.join(5)


def test_nothing_is_lost_while_it_is_followed(served: Served) -> None:
    """The server is restarted and killed, the journal is rotated and restarted, and so is who reads it."""
    host = served.host
    with followed(served.operator, NAME) as log:
        log.reaches("HTTP/1.")
        ask(host, "/the-beginning")
        log.reaches("/the-beginning")
        with asked_all_the_time(host) as answered:
            served.operator.run("restart", NAME)
            more(answered)
            host.run(["journalctl", "--rotate"])
            more(answered)
            host.run(["systemctl", "restart", "systemd-journald"])
            more(answered)
            host.run(["pkill", "-9", "-x", "journalctl"])
            more(answered)
            host.run(["systemctl", "kill", "--signal=KILL", "--kill-who=all", UNIT])
            more(answered)
        ask(host, "/the-end")
        log.reaches("/the-end")
        assert host.run(["pgrep", "-a", "journalctl"]).stdout != ""
    assert log.process.returncode == 130
    until(lambda: host.run(["pgrep", "-a", "journalctl"], check=False).stdout == "")

    told = log.between("/the-beginning", "/the-end")
    assert told == between(journal(host), "/the-beginning", "/the-end")
    numbers = [int(line.partition("/asked?number=")[2].partition(".")[0]) for line in told if "/asked?" in line]
    assert len(numbers) == len(set(numbers)) and set(answered()) <= set(numbers)
    assert any("code=killed" in line for line in told)


def test_a_file_that_is_set_aside_while_it_is_followed(person: Operator) -> None:
    """The log of a server without systemd: it has grown large, and the server is restarted."""
    file = person.home / "mlflow" / MINE / "server.log"
    url = person.json("env", MINE)["environment"]["MLFLOW_TRACKING_URI"]
    ask_here(url, "/before")
    with followed(person, MINE) as log:
        log.reaches("HTTP/1.")
        ask_here(url, "/the-beginning")
        log.reaches("/the-beginning")
        with file.open("a") as handle:
            for number in range(430):
                handle.write(f"{number} {'x' * 50_000}\n")
        person.run("restart", MINE)
        ask_here(url, "/the-end")
        log.reaches("/the-end")
    assert log.process.returncode == 130
    aside = file.with_suffix(".log.1").read_text().splitlines()
    written = [*aside, *file.read_text().splitlines()]
    assert log.between("/the-beginning", "/the-end") == between(written, "/the-beginning", "/the-end")
    assert len(aside) > 430 and any("/the-end" in line for line in file.read_text().splitlines())


def test_errors_are_whole(served: Served) -> None:
    """A request that fails inside the server, and a server that is killed: each from its first line to its last."""
    host = served.host
    store = f"{BASE}/data/artifacts"
    with teamwork.as_admin(served.operator, NAME) as admin:
        assert teamwork.experiments(admin) == ["Default"]
        host.run(["chmod", "0", store])
        try:
            assert admin.call("PUT", teamwork.artifact("9", "run", "precious"), body=b"x").status == 500
        finally:
            host.run(["chmod", "750", store])
    newest = blocks(served.operator.json("logs", NAME, "--errors")["lines"])[-1]
    host.run(["systemctl", "kill", "--signal=KILL", UNIT])
    until(lambda: served.operator.json("status", NAME, code=None)["status"]["healthy"])

    document = served.operator.json("logs", NAME, "--errors", "--since", "1h")
    errors = blocks(document["lines"])
    traceback = [error for error in errors if "Permission denied" in error[-1]][-1]
    assert traceback[-1].startswith("PermissionError: ") and len(traceback) > 100  # than are shown by default
    assert newest == traceback
    kept = journal(host)
    start = max(number for number, line in enumerate(kept) if line == traceback[0])
    assert kept[start : start + len(traceback)] == traceback  # as it was written, without a gap
    assert any(len(error) == 1 and '" 500 ' in error[0] and "precious" in error[0] for error in errors)
    assert any("code=killed" in error[0] for error in errors)
    assert not any('" 200 ' in line for error in errors for line in error)

    few = blocks(served.operator.json("logs", NAME, "--errors", "--lines", "5")["lines"])
    assert few == errors[len(errors) - len(few) :] and len(few) < len(errors)
    shown = served.operator.run("logs", NAME, "--errors", "--since", "1h").stdout
    assert "PermissionError: " in shown and "/experiments/search" not in shown


def test_no_secret_is_shown(served: Served, tmp_path: Path) -> None:
    """Neither those of this server, wherever they stand, nor what looks like one of anybody's."""
    host = served.host
    text = host.run(["cat", f"{BASE}/etc/secrets.env"]).stdout
    secrets = [line.partition("=")[2].strip("\"'") for line in text.splitlines() if "=" in line]
    signature, token = "0a1b2c3d4e5f60718293a4b5c6d7e8f9", "FwoGZXIvYXdzEXAMPLEtoken"
    assert len(secrets) >= 2 and all(len(secret) > 20 for secret in secrets)
    hidden = [*secrets, served.password, signature, token]
    for number, secret in enumerate([*secrets, served.password]):
        ask(host, f"/canary/{number}/{secret}/end")
    ask(host, f"/bucket/key?X-Amz-Expires=60&X-Amz-Signature={signature}&X-Amz-Security-Token={token}&last=canary")

    kept = "\n".join(journal(host))
    assert [secret for secret in hidden if secret not in kept] == []  # that it is in the log is why it must be masked
    # With the keys of this server only, as a person has them who may look and has no secrets file.
    other = Operator(tmp_path, host.ssh_config)
    other.config.mkdir()
    other.toml(NAME).write_text(served.operator.toml(NAME).read_text())
    for operator, known in ((served.operator, hidden), (other, [*secrets, signature, token])):
        for options in ((), ("--json",), ("--since", "1h"), ("--errors",)):
            shown = operator.run("logs", NAME, *options)
            assert [secret for secret in known if secret in shown.stdout + shown.stderr] == []
        lines = [line for line in shown_lines(operator) if "canary" in line]
        assert len(lines) == len(secrets) + 2 and sum(STARS in line for line in lines) >= len(secrets) + 1
        assert any("X-Amz-Expires=60" in line and "last=canary" in line for line in lines)
    with followed(served.operator, NAME) as log:
        log.reaches("HTTP/1.")
        ask(host, f"/again/{secrets[0]}/end")
        log.reaches("/again/")
    assert secrets[0] not in json.dumps(log.events)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Somebody with a server in their home on this machine."""
    with at_home(tmp_path_factory.mktemp("person"), MINE) as operator:
        yield operator


def shown_lines(operator: Operator) -> list[str]:
    return [line["line"] for line in operator.json("logs", NAME)["lines"]]


def blocks(lines: list[dict[str, Any]]) -> list[list[str]]:
    """Errors, each of them the lines that it has."""
    found: list[list[str]] = []
    for line in lines:
        assert line["error"] is True
        if line["first"]:
            found.append([])
        found[-1].append(line["line"])
    return found


def journal(host: LabHost) -> list[str]:
    """All that the server wrote and systemd said of it, as journald itself tells it."""
    host.run(["journalctl", "--sync"])
    argv = ["journalctl", "--unit", UNIT, "--quiet", "--no-pager", "--all", "--output=cat"]
    return host.run(argv).stdout.splitlines()


def between(lines: list[str], first: str, last: str) -> list[str]:
    """From the last line with `first` to the one with `last`."""
    start = max(number for number, line in enumerate(lines) if first in line)
    end = max(number for number, line in enumerate(lines) if last in line)
    return lines[start : end + 1]


def ask(host: LabHost, path: str) -> None:
    """What the server answers is no matter: it notes that it was asked."""
    host.run(["curl", "--silent", "--retry", "30", "--retry-connrefused", "--retry-delay", "1", URL + path])


def ask_here(url: str, path: str) -> None:
    subprocess.run(["curl", "--silent", "--max-time", "30", url + path], check=True, capture_output=True)


@contextmanager
def asked_all_the_time(host: LabHost) -> Iterator[Callable[[], list[int]]]:
    """What was answered within the block, by number."""
    host.path("/root/asker.py").write_text(ASKER)
    output = "--property=StandardOutput=truncate:/root/asked"
    host.run(["systemd-run", "--quiet", "--collect", "--unit=asker", output, "python3", "/root/asker.py", URL])

    def answered() -> list[int]:
        return [int(number) for number in host.path("/root/asked").read_text().splitlines()]

    try:
        until(host.path("/root/asked").exists)
        yield answered
    finally:
        host.run(["systemctl", "stop", "asker"])


def more(answered: Callable[[], list[int]]) -> None:
    """Wait until the server has answered some more."""
    before = len(answered())
    until(lambda: len(answered()) >= before + 20)
