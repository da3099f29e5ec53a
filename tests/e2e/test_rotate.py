"""Secrets exchanged on a server: the new one is proved, the old one forgotten, and no blow loses either."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.logins import DONE, UNKNOWN, Login, secrecy
from tests.e2e.prepared import Prepared
from tests.e2e.served import NAME, UNIT, Served
from tests.e2e.waiting import AGENT, until_no_agent
from tests.lab import LabHost

BASE = f"/opt/mlflow/{NAME}"
SECRETS = f"{BASE}/etc/secrets.env"
BACKUPS = "/var/backups/rotated"
VARIABLE = "MLFLOW_PROVISION_ADMIN_PASSWORD"
API_KEY = "sk-of-a-model-provider"

# What the AI gateway would send to the provider: opened with the passphrase in the file.
_OPENED = """
import json, os, sqlite3, sys
for line in open(sys.argv[1]):
    name, _, value = line.rstrip().partition("=")
    os.environ[name] = value
from mlflow.utils.crypto import KEKManager, _decrypt_secret
rows = sqlite3.connect(sys.argv[2]).execute("SELECT secret_id, secret_name, encrypted_value, wrapped_dek FROM secrets")
opened = {row[1]: _decrypt_secret(row[2], row[3], KEKManager(), row[0], row[1]) for row in rows}
print("OPENED " + json.dumps(opened))
"""


@pytest.fixture(scope="module")
def served(set_up: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with set_up.copy(tmp_path_factory.mktemp("home") / "operator") as found:
        yield found
        found.operator.run("tunnel", "--stop", "--all")


def admin(served: Served) -> Login:
    """With the password that is kept here."""
    return Login(served.opened()["port"], "admin", served.password)


def server_secrets(served: Served) -> dict[str, str]:
    """Those that the server made for itself."""
    lines = served.host.path(SECRETS).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def told(process: subprocess.Popen[str], step: str) -> None:
    """A command has told that it has changed something."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith("changed ") and step in line:
            return
    raise AssertionError(f"{step} never came: {process.communicate()}")


def unfinished(served: Served) -> dict[str, dict[str, str]]:
    """What the operator has noted of changes that have not ended."""
    path = served.operator.config / f"{NAME}.rotating.json"
    if not path.exists():
        return {}
    assert path.stat().st_mode & 0o077 == 0
    noted: dict[str, dict[str, str]] = json.loads(path.read_text())
    return noted


def test_another_password_and_one_in_the_environment(served: Served) -> None:
    operator, before = served.operator, admin(served)
    assert before.logs_in() == DONE
    rotated = operator.json("rotate", "password", NAME)["rotated"]
    assert Path(rotated["kept_in"]).samefile(operator.config / f"{NAME}.secrets.toml")
    second = admin(served)
    assert (before.logs_in(), second.logs_in()) == (UNKNOWN, DONE)
    operator.variables[VARIABLE] = second.password
    try:
        told = operator.json("rotate", "password", NAME)
        assert any(VARIABLE in note for note in told["notes"])
        operator.refused("user", "list", NAME)  # the variable wins, and is out of date
    finally:
        del operator.variables[VARIABLE]
    assert (second.logs_in(), admin(served).logs_in()) == (UNKNOWN, DONE)
    assert operator.json("plan", NAME)["changes"] == 0


@pytest.fixture(scope="module")
def with_gateway_key(served: Served) -> Served:
    """The same server, whose AI gateway keeps the key of a provider."""
    secret = {"secret_name": "provider", "secret_value": {"api_key": API_KEY}, "provider": "openai"}
    admin(served).gets("POST", "/gateway/secrets/create", api="3.0", **secret)
    return served


def opened(served: Served) -> object:
    """The keys in the AI gateway, as its server can read them."""
    argv = [f"{BASE}/venv/bin/python", "-c", _OPENED, SECRETS, f"{BASE}/data/mlflow.db"]
    said = served.host.run(argv, timeout=120).stdout
    return json.loads(next(line for line in said.splitlines() if line.startswith("OPENED "))[7:])


def left_over(served: Served) -> list[str]:
    return sorted(path.name for path in served.host.path(f"{BASE}/etc").glob("secrets.env?*"))


def test_the_agent_is_killed_when_keys_are_locked_anew(with_gateway_key: Served) -> None:
    """Then the same command goes on; and a backup made before has the secrets that its keys are locked with."""
    served, operator = with_gateway_key, with_gateway_key.operator
    before = server_secrets(served)
    assert opened(served) == {"provider": {"api_key": API_KEY}}
    operator.run("backup", "now", NAME, "--to", BACKUPS)
    killed = operator.start("rotate", "secret", NAME, "--yes")
    told(killed, "locked anew")
    for pid in served.host.run(["pgrep", "-f", AGENT], check=False).stdout.split():
        served.host.run(["kill", "-9", pid], check=False)
    killed.communicate(timeout=60)
    assert killed.returncode == 1
    rotated = operator.json("rotate", "secret", NAME, "--yes")["rotated"]
    assert (rotated["keys"], rotated["unreadable"], rotated["restarted"]) == (1, [], True)
    after = server_secrets(served)
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in rotated["names"])
    assert opened(served) == {"provider": {"api_key": API_KEY}}
    assert left_over(served) == []
    operator.run("restore", "--latest", NAME, "--from", BACKUPS, "--yes")
    assert opened(served) == {"provider": {"api_key": API_KEY}}
    assert operator.json("verify", NAME, "--no-kill")["ok"] is True


@contextmanager
def starts_only_with(host: LabHost, path: str) -> Iterator[None]:
    """Within the block the server does not start when that file is another one than now."""
    unit = host.path(f"/etc/systemd/system/{UNIT}.service.d/only.conf")
    unit.parent.mkdir(exist_ok=True)
    host.run(["cp", path, "/root/known"])
    unit.write_text(f"[Service]\nExecStartPre=+/usr/bin/cmp {path} /root/known\n")
    host.run(["systemctl", "daemon-reload"])
    try:
        yield
    finally:
        unit.unlink()
        host.run(["systemctl", "daemon-reload"])


def test_the_server_does_not_start_with_the_new_secrets(with_gateway_key: Served) -> None:
    served, operator = with_gateway_key, with_gateway_key.operator
    before = served.host.path(SECRETS).read_bytes()
    with starts_only_with(served.host, SECRETS):
        operator.refused("rotate", "secret", NAME, "--yes")
        assert served.host.path(SECRETS).read_bytes() == before
        assert admin(served).logs_in() == DONE
    assert opened(served) == {"provider": {"api_key": API_KEY}}
    assert left_over(served) == []


def test_no_secret_shows(with_gateway_key: Served) -> None:
    served, operator = with_gateway_key, with_gateway_key.operator
    secrets = [("admin", served.password), *server_secrets(served).items()]
    with secrecy(served.host, operator) as secret:
        operator.json("rotate", "password", NAME, "--debug")
        operator.json("rotate", "secret", NAME, "--yes", "--debug")
    new = [("admin", admin(served).password), *server_secrets(served).items()]
    secret.secrets = [*secrets, *new, ("provider", API_KEY)]
    assert len({text for _, text in secret.secrets}) == 2 + 2 * 2 + 1
    assert secret.found() == []
    assert opened(served) == {"provider": {"api_key": API_KEY}}


def test_the_operator_is_killed_while_the_workers_are_told(served: Served) -> None:
    operator = served.operator
    operator.run("setup", NAME, "--workers", "3", "--yes")
    before = admin(served)
    assert before.everywhere() == {DONE}
    killed = operator.start("rotate", "password", NAME)
    told(killed, "password of admin")
    killed.kill()
    killed.communicate()
    (lost,) = unfinished(served)["password"].values()
    until_no_agent(served.host)
    operator.run("rotate", "password", NAME)
    after = admin(served)
    assert after.password not in (before.password, lost)
    assert after.everywhere() == {DONE}
    assert before.everywhere() == before.with_password(lost).everywhere() == {UNKNOWN}
    assert unfinished(served) == {}
