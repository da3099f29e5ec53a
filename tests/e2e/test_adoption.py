"""A server that a shell script made is taken over with all that is in it; or it is back, and nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision import provision
from mlflow_provision.config import Deployment, Secrets
from mlflow_provision.host import connect
from tests.e2e.old_server import ADMIN_PASSWORD, SECRET_KEY, TREE, UNIT, USERS, OldServer, fingerprint, install_packages
from tests.e2e.operator import Operator, on
from tests.e2e.person import LAST, at_terminal, choose, take_the_rest
from tests.e2e.stock import stocked
from tests.e2e.traces import untouched
from tests.e2e.waiting import AGENT, until
from tests.lab import LabHost, RcloneS3, Snapshot

NAME = "server"
OURS = "/opt/mlflow/server"
CANARIES = (ADMIN_PASSWORD, SECRET_KEY, *USERS.values(), "CANARY-in-the-unit")


@dataclass(frozen=True)
class Furnished:
    """A host with the usual old server on it, and what people had made and could see there."""

    snapshot: Snapshot
    made: dict[str, str]
    shown: dict[str, Any]


@pytest.fixture(scope="module")
def packages() -> Iterator[Snapshot]:
    """A host on which the script has installed MLflow; with the release that ours needs, of another deployment."""
    with LabHost(base=stocked()) as lab_host:
        install_packages(lab_host)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_PROVISION_SSH_CONFIG", str(lab_host.ssh_config))
            deployment = Deployment("other", on(lab_host))
            host = connect(deployment)
            prepared = provision.prepare(host, deployment, Secrets())
            without_service = [one for one in prepared.resources if one.id not in ("service", "record")]
            list(provision.apply_resources(host, without_service, deployment, prepared.facts, "setup"))
            host.close()
        snapshot = lab_host.snapshot()
    yield snapshot
    snapshot.remove()


@pytest.fixture(scope="module")
def furnished(packages: Snapshot) -> Iterator[Furnished]:
    with LabHost(base=packages) as lab_host:
        old = OldServer()
        old.install(lab_host)
        made = old.fill(lab_host)
        shown = everything(lab_host, "admin", ADMIN_PASSWORD, made)
        snapshot = lab_host.snapshot()
    yield Furnished(snapshot, made, shown)
    snapshot.remove()


@pytest.fixture
def old_host(furnished: Furnished) -> Iterator[LabHost]:
    """A host with a running old server of its own."""
    with LabHost(base=furnished.snapshot) as lab_host:
        OldServer().wait(lab_host)
        yield lab_host


@pytest.fixture
def made(furnished: Furnished) -> dict[str, str]:
    return furnished.made


@pytest.fixture
def shown(furnished: Furnished) -> dict[str, Any]:
    """What people could see before."""
    return furnished.shown


@pytest.fixture
def operator(old_host: LabHost, tmp_path: Path) -> Operator:
    return Operator(tmp_path, old_host.ssh_config)


def test_everything_is_taken_over(
    old_host: LabHost, operator: Operator, made: dict[str, str], shown: dict[str, Any]
) -> None:
    """Looked at first, and refused with a wrong password: neither leaves a trace. Then adopted, users and all."""
    with untouched(old_host, ignoring="/mlflow-server/mlflow.db"):
        answer = operator.json("setup", on(old_host), "--adopt", "--dry-run", "--exit-code", code=4)
        assert {"adopted-data", "unit", "service"} <= {
            step["step"] for step in answer["steps"] if step["verdict"] == "changed"
        }
        assert answer["old_server"]["tree"] == TREE
        operator.variables["MLFLOW_PROVISION_ADMIN_PASSWORD"] = "not-the-password-there"
        said = operator.refused("setup", on(old_host), "--adopt", "--yes")
        assert "the password given is not the one of admin on the old server" in said
        assert "MLFLOW_PROVISION_ADMIN_PASSWORD" in said
        operator.variables.clear()
        assert not operator.config.exists()

    before = fingerprint(old_host)
    answer = operator.json("setup", on(old_host), "--adopt", "--yes")
    assert {check["verdict"] for check in answer["verify"]} == {"ok"}
    assert (
        answer["adopted"] | {"experiments": 2, "runs": 3, "models": 1, "users": 3, "artifacts": 4} == answer["adopted"]
    )
    assert everything(old_host, "admin", ADMIN_PASSWORD, made) == shown
    assert fingerprint(old_host) == before
    for name, permission in (("ada", "MANAGE"), ("grace", "EDIT")):
        assert status(old_host, "/api/2.0/mlflow/users/current", name, USERS[name]) == 200
        assert status(old_host, "/api/2.0/mlflow/users/current", name, USERS[name] + "x") == 401
        asked = f"username={name}&resource_type=experiment&resource_id={made['experiment']}"
        answered = get(old_host, f"/api/3.0/mlflow/users/permissions/get?{asked}", "admin", ADMIN_PASSWORD, 5000)
        assert json.loads(answered)["permission"] == permission
    deployment = operator.toml(NAME).read_text()
    assert 'listen = "0.0.0.0"' in deployment
    assert 'default_permission = "EDIT"' in deployment

    assert operator.json("setup", NAME)["changes"] == 0
    assert operator.json("setup", NAME, "--adopt")["changes"] == 0
    sums = ["sh", "-c", f"cd {OURS}/adopted && sha256sum --check --quiet SHA256SUMS && stat -c %a%U . mlflow.db"]
    assert old_host.run(sums).stdout.split() == ["700root", "600root"]
    old_host.run(["rm", "-r", TREE])  # what the person is told to do at last
    assert everything(old_host, "admin", ADMIN_PASSWORD, made) == shown

    shown_to_person = "".join(operator.shown)
    assert not [canary for canary in CANARIES if canary in shown_to_person]
    patterns = [word for canary in CANARIES for word in ("-e", canary)]
    # as somebody who is neither root nor the service user
    found = old_host.run(["grep", "-rlF", *patterns, "/opt", "/etc", "/var", "/run"], user="nosudo", check=False)
    assert found.stdout == ""


def test_it_comes_back_when_ours_fails(
    old_host: LabHost, operator: Operator, made: dict[str, str], shown: dict[str, Any]
) -> None:
    """Ours dies at its start: a drop-in of somebody's kills every server that is not the old one."""
    before, unit = fingerprint(old_host), old_host.path(f"/etc/systemd/system/{UNIT}").read_text()
    folder = "/etc/systemd/system/service.d"  # of every unit, so it stays
    old_host.run(["mkdir", folder])
    old_host.run(["tee", f"{folder}/trap.conf"], input="[Service]\nInaccessiblePaths=-/opt/mlflow/releases\n")
    old_host.run(["systemctl", "daemon-reload"])
    said = operator.refused("setup", on(old_host), "--adopt", "--yes")
    assert "the server started and died" in said
    assert "the old server runs again as before; what ours held is in /opt/mlflow/server/adopted/failed-" in said
    assert everything(old_host, "admin", ADMIN_PASSWORD, made) == shown
    assert old_host.path(f"/etc/systemd/system/{UNIT}").read_text() == unit
    assert old_host.run(["systemctl", "is-enabled", UNIT]).stdout.strip() == "enabled"
    assert without_databases(fingerprint(old_host)) == without_databases(before)

    old_host.run(["rm", "-r", folder])
    old_host.run(["systemctl", "daemon-reload"])
    guided_through(old_host, operator)
    assert everything(old_host, "admin", ADMIN_PASSWORD, made) == shown
    assert without_databases(fingerprint(old_host)) == without_databases(before)


def guided_through(host: LabHost, operator: Operator) -> None:
    """The wizard finds the old server, and takes it over with what it was told."""
    for path in operator.config.glob("server.*"):  # as somebody who has never tried
        path.unlink()
    with at_terminal(operator, "setup") as terminal:
        choose(terminal, "Where should the server run?", host.name)
        choose(terminal, "There is a server already", "Take over the server in")
        choose(terminal, LAST, "Change an answer")
        choose(terminal, "Which one?", "Backups")
        choose(terminal, "Where should backups go", "In a folder")
        take_the_rest(terminal)
        summary = str(terminal)
        assert "Holds      2 experiments, 3 runs, 1 model, 3 users, 4 artifact files" in summary
        assert "/var/backups/mlflow, daily" in summary
        assert ADMIN_PASSWORD not in terminal.raw
        choose(terminal, LAST, "Yes")
        terminal.waits_for("all that was", timeout=120)
        assert terminal.ended() == 0
    assert 'destination = "/var/backups/mlflow"' in operator.toml(NAME).read_text()


def test_killed_after_each_phase(
    old_host: LabHost, operator: Operator, made: dict[str, str], shown: dict[str, Any]
) -> None:
    """kill -9 for the agent in every phase, one after the other, and run again each time: adopted in the end."""
    before = fingerprint(old_host)
    for wanted in ("stopping", "rolling-back", "moving", "starting"):
        assert killed_in(old_host, operator, wanted)
    # Plain `setup` knows that there is something to finish.
    answer = operator.json("setup", NAME, "--yes")
    assert answer["adopted"]["runs"] == 3
    assert everything(old_host, "admin", ADMIN_PASSWORD, made) == shown
    assert without_databases(fingerprint(old_host)) == without_databases(before)
    assert operator.json("setup", NAME)["changes"] == 0


def test_nobody_is_there_any_more(
    old_host: LabHost, operator: Operator, made: dict[str, str], shown: dict[str, Any]
) -> None:
    """The operator's machine is gone while databases are copied; then Ctrl-C while ours starts: the host itself
    brings the old server back."""
    setup = operator.start("setup", on(old_host), "--adopt", "--yes")
    wait_for(old_host, setup, "moving")
    setup.kill()
    setup.communicate()
    until(lambda: phase(old_host) == "rolled-back")
    assert status(old_host, "/api/2.0/mlflow/users/current", "admin", ADMIN_PASSWORD) == 200

    setup = operator.start("setup", on(old_host), "--adopt", "--yes")
    wait_for(old_host, setup, "starting")
    setup.send_signal(signal.SIGINT)
    out, err = setup.communicate(timeout=120)
    assert setup.returncode == 130, out + err
    assert "the old server runs again as before" in err
    assert phase(old_host) == "rolled-back"
    assert everything(old_host, "admin", ADMIN_PASSWORD, made) == shown


def test_local_folder_without_a_login(packages: Snapshot, tmp_path: Path) -> None:
    """Artifacts lie where the database says, by absolute paths in a home: they move to the proxy's names. Another
    name than the old unit's, another port than the usual one."""
    with LabHost(base=packages) as host:
        old = OldServer(options=f"--default-artifact-root {TREE}/mlruns", auth=False, port=5050)
        old.install(host)
        made = old.fill(host)
        shown = everything(host, "", "", made, 5050)
        before = fingerprint(host)
        operator = Operator(tmp_path, host.ssh_config)
        answer = operator.json("setup", on(host), "--adopt", "--yes", "--name", "team")
        assert answer["adopted"]["artifacts"] == 4
        assert fingerprint(host) == before
        login = operator.json("env", "team")["environment"]
        user, password = login["MLFLOW_TRACKING_USERNAME"], login["MLFLOW_TRACKING_PASSWORD"]
        assert status(host, "/api/2.0/mlflow/experiments/get?experiment_id=0", "", "", 5050) == 401
        assert everything(host, user, password, made, 5050) == shown
        uri = run_of(host, made["run0"], user, password, 5050)["info"]["artifact_uri"]
        assert uri == f"mlflow-artifacts:/{made['experiment']}/{made['run0']}/artifacts"
        assert host.run(["systemctl", "is-enabled", UNIT], check=False).stdout.strip() == "disabled"
        assert operator.json("setup", "team")["changes"] == 0


def test_a_bucket_with_the_keys_of_a_profile(packages: Snapshot, tmp_path: Path, rclone_s3: RcloneS3) -> None:
    rclone_s3.create_bucket("oldbucket")
    keys = rclone_s3.keys
    others, its = "aws_access_key_id = no\naws_secret_access_key = no", f"aws_access_key_id = {keys.key}"
    credentials = f"[default]\n{others}\n[ml]\n{its}\naws_secret_access_key = {keys.secret}\n"
    environment = f"export AWS_PROFILE=ml MLFLOW_S3_ENDPOINT_URL={rclone_s3.endpoint}"
    old = OldServer(
        options="--artifacts-destination s3://oldbucket/ml",
        environment=environment,
        aws={"credentials": credentials, "config": "[profile ml]\nregion = eu-central-1\n"},
    )
    with LabHost(base=packages) as host:
        old.install(host)
        made = old.fill(host)
        shown = everything(host, "admin", ADMIN_PASSWORD, made)
        operator = Operator(tmp_path, host.ssh_config)
        answer = operator.json("setup", on(host), "--adopt", "--yes")
        assert answer["adopted"]["runs"] == 3
        assert everything(host, "admin", ADMIN_PASSWORD, made) == shown
        deployment = operator.toml(NAME).read_text()
        assert 'destination = "s3://oldbucket/ml"' in deployment
        assert 'region = "eu-central-1"' in deployment
        assert keys.secret not in deployment + "".join(operator.shown)
        assert keys.secret in (operator.config / f"{NAME}.secrets.toml").read_text()
        assert operator.json("setup", NAME)["changes"] == 0


def test_nothing_to_adopt(host: LabHost, tmp_path: Path) -> None:
    operator = Operator(tmp_path, host.ssh_config)
    with untouched(host):
        said = operator.refused("setup", on(host), "--adopt", "--yes")
    assert "there is no old server to adopt on this host" in said
    assert "leave out --adopt" in said


def everything(host: LabHost, user: str, password: str, made: dict[str, str], port: int = 5000) -> dict[str, Any]:
    """All that people can see, the way their programs ask for it."""

    def ask(path: str) -> Any:
        return json.loads(get(host, path, user, password, port))

    found: dict[str, Any] = {
        "experiments": ask("/api/2.0/mlflow/experiments/search?max_results=100&view_type=ALL")["experiments"],
        "models": ask("/api/2.0/mlflow/registered-models/search"),
    }
    found["experiments"] = sorted((one["experiment_id"], one["name"]) for one in found["experiments"])
    for key in ("run0", "run1", "run2"):
        run = run_of(host, made[key], user, password, port)
        del run["info"]["artifact_uri"]
        listed = ask(f"/api/2.0/mlflow/artifacts/list?run_id={made[key]}&path=nested/deeper").get("files")
        history = ask(f"/api/2.0/mlflow/metrics/get-history?run_id={made[key]}&metric_key=loss")["metrics"]
        found[key] = [run, listed, history]
    for version in found["models"]["registered_models"][0].get("latest_versions", []):
        del version["source"]
    path = "nested/deeper/n%C3%A4me%20with%20space.txt"
    found["text"] = get(host, f"/get-artifact?run_uuid={made['run1']}&path={path}", user, password, port)
    return found


def run_of(host: LabHost, run: str, user: str, password: str, port: int) -> dict[str, Any]:
    answer = get(host, f"/api/2.0/mlflow/runs/get?run_id={run}", user, password, port)
    found: dict[str, Any] = json.loads(answer)["run"]
    return found


def get(host: LabHost, path: str, user: str, password: str, port: int) -> str:
    login = f'user = "{user}:{password}"' if user else ""
    return host.run(["curl", "-sS", "--fail", "-K", "-", f"http://127.0.0.1:{port}{path}"], input=login).stdout


def status(host: LabHost, path: str, user: str, password: str, port: int = 5000) -> int:
    login = f'user = "{user}:{password}"' if user else ""
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-K", "-", f"http://127.0.0.1:{port}{path}"]
    return int(host.run(argv, input=login).stdout)


def phase(host: LabHost) -> str:
    journal = host.path(f"{OURS}/adopted/adoption.json")
    return str(json.loads(journal.read_text())["phase"]) if journal.exists() else ""


def wait_for(host: LabHost, setup: subprocess.Popen[str], wanted: str) -> None:
    until(lambda: phase(host) == wanted, process=setup, pause=0.01)


def killed_in(host: LabHost, operator: Operator, wanted: str) -> bool:
    """Begin an adoption, and kill its agent once this phase is written down."""
    setup = operator.start("setup", on(host), "--adopt", "--yes")
    wait_for(host, setup, wanted)
    host.run(["pkill", "-9", "-f", AGENT], check=False)
    setup.communicate(timeout=60)
    return phase(host) == wanted


def without_databases(text: str) -> list[str]:
    """An old server that runs again may touch its databases and their folder; nothing else changes."""
    return [line for line in text.splitlines() if not line.startswith(". ") and ".db" not in line]
