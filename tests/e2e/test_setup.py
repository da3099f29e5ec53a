"""The main job on a blank host: set up, run again, drift, change, control, reboot, take away."""

from __future__ import annotations

import json

import pytest

from tests.e2e.operator import Operator, on
from tests.lab import LabHost

NAME = "team"
BASE = f"/opt/mlflow/{NAME}"


@pytest.fixture(scope="module")
def operator(host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("operator"), host.ssh_config)


@pytest.fixture(scope="module")
def server(host: LabHost, operator: Operator) -> Operator:
    """The server, set up once for this module; the answer of that setup is kept beside the deployment file."""
    answer = operator.json("setup", on(host), "--name", NAME, "--yes")
    (operator.home / "first.json").write_text(json.dumps(answer))
    return operator


def test_a_plan_of_a_blank_host_touches_nothing(host: LabHost, operator: Operator) -> None:
    before = host.now()
    answer = operator.json("setup", on(host), "--name", NAME, "--dry-run", "--exit-code", code=4)
    assert answer["changes"] >= 15
    unit = next(step for step in answer["steps"] if step["step"] == "unit")
    assert "+ProtectSystem=strict" in unit["diff"]
    assert [path for path in host.changed_files(before) if "sudo" not in path] == []
    assert not operator.toml(NAME).exists()


def test_a_blank_host_becomes_a_verified_server(host: LabHost, server: Operator) -> None:
    answer = json.loads((server.home / "first.json").read_text())
    assert answer["ok"] is True
    verdicts = {check["step"]: check["verdict"] for check in answer["verify"]}
    assert set(verdicts.values()) == {"ok"}, verdicts
    assert len(verdicts) >= 15
    assert host.run(["systemctl", "is-enabled", f"mlflow-{NAME}"]).stdout.strip() == "enabled"


def test_the_unit_is_hardened_and_nothing_runs_as_root(host: LabHost, server: Operator) -> None:
    exposure = host.run(["systemd-analyze", "security", "--no-pager", f"mlflow-{NAME}"]).stdout.splitlines()[-1]
    assert float(exposure.split(": ")[1].split()[0]) < 2.0
    owners = host.run(["ps", "-C", "python", "-o", "user:20="]).stdout.split()
    assert set(owners) == {f"mlflow-{NAME}"}


def test_a_start_finds_all_that_it_imports_compiled(host: LabHost, server: Operator) -> None:
    """Only root may write bytecode there: what setup leaves out, the server would compile at each of its starts."""
    (site,) = host.path("/opt/mlflow/releases").glob("*/lib/python3*/site-packages")
    migrations = [str(path.relative_to(site)) for path in site.glob("mlflow/*/**/versions/*.py")]
    assert len(migrations) > 60
    for module in ("mlflow/cli/__init__.py", "mlflow/server/auth/__init__.py", "uvicorn/main.py", *migrations):
        folder, _, name = module.rpartition("/")
        assert list((site / folder / "__pycache__").glob(f"{name[:-3]}.*.pyc")), module


def test_the_admin_password_does_not_stay_on_the_host(host: LabHost, server: Operator) -> None:
    password = _password(server)
    assert len(password) >= 20
    found = host.run(["grep", "-rlF", password, "/opt/mlflow", "/etc", "/run", "/var/log", "/tmp"], check=False)
    assert found.stdout == ""


def test_a_second_run_changes_nothing_and_writes_nothing(host: LabHost, server: Operator) -> None:
    # The server itself writes its database; what is asked here is what the setup writes.
    before = host.now()
    answer = server.json("setup", NAME, "--yes")
    assert answer["changes"] == 0
    assert [path for path in host.changed_files(before) if "/data/" not in path and "sudo" not in path] == []
    assert "No changes" in server.run("setup", NAME, "--yes").stdout
    assert server.run("plan", NAME, "--exit-code").returncode == 0


def test_drift_shows_as_a_diff_and_is_put_right(host: LabHost, server: Operator) -> None:
    host.run(["sed", "-i", "s/MLFLOW_WORKERS=1/MLFLOW_WORKERS=7/", f"{BASE}/etc/server.env"])
    host.run(["chmod", "0666", f"{BASE}/start_mlflow_server.sh"])
    plan = server.run("plan", NAME, "--exit-code", code=4).stdout
    assert "-MLFLOW_WORKERS=7" in plan
    assert "+MLFLOW_WORKERS=1" in plan
    assert server.changed("setup", NAME, "--yes") == ["server.env", "start-script", "service", "record"]
    assert "MLFLOW_WORKERS=1" in host.run(["cat", f"{BASE}/etc/server.env"]).stdout
    assert server.json("plan", NAME)["changes"] == 0


def test_one_changed_value_changes_what_follows_from_it(host: LabHost, server: Operator) -> None:
    server.edit(NAME, 'default_permission = "READ"', 'default_permission = "EDIT"')
    assert server.changed("setup", NAME, "--yes") == ["basic_auth.ini", "service", "record"]
    assert "default_permission = EDIT" in host.run(["cat", f"{BASE}/etc/basic_auth.ini"]).stdout


def test_what_asks_for_no_restart_causes_none(host: LabHost, server: Operator) -> None:
    before = host.run(["systemctl", "show", f"mlflow-{NAME}", "--property=MainPID"]).stdout
    host.run(["chmod", "0777", f"{BASE}/data/artifacts"])
    assert server.changed("setup", NAME, "--yes") == ["artifacts", "record"]
    assert host.run(["systemctl", "show", f"mlflow-{NAME}", "--property=MainPID"]).stdout == before


def test_a_changed_admin_password_is_set_and_proved(host: LabHost, server: Operator) -> None:
    secrets = server.config / f"{NAME}.secrets.toml"
    secrets.write_text(secrets.read_text().replace(_password(server), "another-long-password-42"))
    assert server.changed("setup", NAME, "--yes") == ["admin", "service", "record"]
    assert server.json("verify", NAME, "--no-kill")["ok"] is True


def test_another_port(host: LabHost, server: Operator) -> None:
    changed = server.changed("setup", NAME, "--port", "5600", "--yes")
    assert changed == ["server.env", "service", "record"]
    assert "port = 5600" in server.toml(NAME).read_text()
    assert server.json("status", NAME)["status"]["healthy"] is True


def test_stop_start_restart_and_status_say_the_truth(host: LabHost, server: Operator) -> None:
    server.run("stop", NAME)
    assert host.run(["systemctl", "is-active", f"mlflow-{NAME}"], check=False).stdout.strip() == "inactive"
    assert server.json("status", NAME, code=1)["status"]["running"] is False
    server.run("start", NAME)
    first = server.json("status", NAME)["status"]
    server.run("restart", NAME)
    second = server.json("status", NAME)["status"]
    assert first["healthy"] and second["healthy"] and first["pid"] != second["pid"]
    assert 200 << 20 < second["memory"] < 700 << 20


def test_it_comes_back_after_a_reboot(host: LabHost, server: Operator) -> None:
    host.reboot()
    assert server.json("setup", NAME, "--yes")["changes"] == 0 or server.json("status", NAME)["status"]["healthy"]
    assert server.json("verify", NAME)["ok"] is True


def test_another_deployment_shares_the_release(host: LabHost, server: Operator) -> None:
    answer = server.json("setup", on(host), "--name", "dev", "--port", "5700", "--yes")
    verdicts = {step["step"]: step["verdict"] for step in answer["steps"]}
    assert verdicts["release"] == verdicts["uv"] == "ok"
    assert [entry["name"] for entry in server.json("list")["deployments"]] == ["dev", NAME]
    server.run("destroy", "dev", "--delete-data", "--yes")
    assert server.json("status", NAME)["status"]["healthy"] is True
    assert host.run(["id", "mlflow-dev"], check=False).returncode != 0


def test_destroy_keeps_the_data_and_setup_takes_it_up_again(host: LabHost, server: Operator) -> None:
    toml = server.toml(NAME).read_text()
    _create_experiment(host, server, "kept")
    server.run("destroy", NAME, "--yes")
    assert host.run(["test", "-f", f"{BASE}/data/mlflow.db"]).returncode == 0
    assert host.run(["systemctl", "cat", f"mlflow-{NAME}"], check=False).returncode != 0
    server.toml(NAME).write_text(toml)
    assert server.json("setup", NAME, "--yes")["ok"] is True
    assert "kept" in _search_experiments(host, server)


def _password(operator: Operator) -> str:
    text = (operator.config / f"{NAME}.secrets.toml").read_text()
    return next(line.split('"')[1] for line in text.splitlines() if line.startswith("admin_password"))


def _create_experiment(host: LabHost, operator: Operator, name: str) -> None:
    _curl(host, operator, "experiments/create", {"name": name})


def _search_experiments(host: LabHost, operator: Operator) -> str:
    return _curl(host, operator, "experiments/search", {"max_results": 100})


def _curl(host: LabHost, operator: Operator, path: str, body: dict[str, object]) -> str:
    url = f"http://localhost:5600/api/2.0/mlflow/{path}"
    config = f'user = "admin:{_password(operator)}"'
    argv = ["curl", "-sS", "-K", "-", "-H", "Content-Type: application/json", "-d", json.dumps(body), url]
    return host.run(argv, input=config).stdout
