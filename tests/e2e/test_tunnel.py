"""The tunnel on bad days: links, servers and hosts that go and come back, keys that are revoked, killed processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.operator import Operator, on
from tests.e2e.served import NAME, UNIT, Served, answers, request, watched
from tests.e2e.terminal import Terminal
from tests.e2e.waiting import until
from tests.lab.server import free_port

BACK_WITHIN = 10  # seconds after the link is


def on_own_port(served: Served) -> dict[str, Any]:
    """A tunnel at a port that no other test on this machine chooses, also when it is free again."""
    return served.opened("--local-port", str(free_port("127.0.0.1")))


def test_opened_used_listed_and_stopped(served: Served) -> None:
    tunnel = served.opened()
    port = tunnel["port"]
    assert port >= 5001 and tunnel["state"] == "up"
    assert served.get(port) == (200, b"3.17.2")
    again = served.operator.run("tunnel", NAME)
    assert f"http://127.0.0.1:{port}" in again.stdout and "already" in again.stdout
    assert [(one["name"], one["port"], one["pid"]) for one in served.tunnels()] == [(NAME, port, tunnel["pid"])]
    environment = json.loads(served.operator.run("env", NAME, "--format", "json").stdout)
    assert environment["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{port}"
    served.operator.run("tunnel", "--stop", NAME)
    own = on_own_port(served)["port"]
    served.operator.run("tunnel", "--stop", NAME)
    assert served.tunnels() == [] and not answers(own)
    assert served.opened()["port"] == own  # people have it in their browsers


@pytest.mark.parametrize(
    ("name", "status"),
    [("localhost:PORT", 200), ("127.0.0.1:PORT", 200), ("foreign.example:PORT", 403), ("foreign.example", 403)],
)
def test_the_host_check_takes_any_local_port_and_no_foreign_name(served: Served, name: str, status: int) -> None:
    port = on_own_port(served)["port"]
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert served.get(port, path, host=name.replace("PORT", str(port)))[0] == status


def test_it_listens_on_loopback_only(served: Served) -> None:
    port = served.opened()["port"]
    with socket.socket() as probe:
        assert probe.connect_ex((served.host.network.gateway, port)) != 0


def test_link_cut_and_restored(served: Served) -> None:
    with watched(served.operator, NAME) as tunnel:
        tunnel.reaches("up")
        served.host.network.cut()
        lost = tunnel.reaches("waiting", 25)
        assert "lost" in lost["reason"] or "not answer" in lost["reason"]
        time.sleep(8)  # until the pauses have grown
        served.host.network.restore()
        assert tunnel.reaches("up", 30)["waited"] <= BACK_WITHIN
        assert served.get(tunnel.port)[0] == 200


def test_a_short_cut_is_survived_without_a_new_connection(served: Served) -> None:
    with watched(served.operator, NAME) as tunnel:
        tunnel.reaches("up")
        served.host.network.cut()
        time.sleep(3)
        served.host.network.restore()
        assert served.get(tunnel.port)[0] == 200
        assert "waiting" not in tunnel.states()


def test_sshd_restarted(served: Served) -> None:
    with watched(served.operator, NAME) as tunnel:
        tunnel.reaches("up")
        served.host.run(["systemctl", "restart", "ssh"])
        served.end_ssh_sessions()
        assert tunnel.reaches("waiting", 5)
        assert tunnel.reaches("up", BACK_WITHIN)["reconnects"] == 1


def test_server_restarted(served: Served) -> None:
    """SSH is fine all the time: what is down is MLflow, and that is what is told."""
    with watched(served.operator, NAME) as tunnel:
        tunnel.reaches("up")
        served.host.run(["systemctl", "stop", UNIT])
        assert "nothing answers at 127.0.0.1:5000" in tunnel.reaches("mlflow-down", 15)["reason"]
        served.host.run(["systemctl", "start", UNIT])
        assert tunnel.reaches("up", 60)["reconnects"] == 0


def test_mlflow_down_from_the_start_is_said_with_the_next_command(served: Served) -> None:
    served.host.run(["systemctl", "stop", UNIT])
    try:
        said = served.operator.refused("run", NAME, "--", "true")
        assert f"mlflow-provision status {NAME}" in said
    finally:
        served.host.run(["systemctl", "start", UNIT])
    served.operator.run("tunnel", "--stop", "--all")
    with watched(served.operator, NAME) as tunnel:
        tunnel.reaches("up", 60)


def test_host_rebooted(served: Served) -> None:
    with watched(served.operator, NAME) as tunnel:
        tunnel.reaches("up")
        served.host.reboot()
        tunnel.reaches("up", 90)
        assert served.get(tunnel.port)[0] == 200


def test_local_port_taken(served: Served) -> None:
    first = on_own_port(served)["port"]
    served.operator.run("tunnel", "--stop", NAME)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", first))
        squatter.listen()
        said = served.operator.refused("tunnel", NAME, "--background", "--local-port", str(first))
        assert f"port {first}" in said
        assert served.opened()["port"] != first


def test_two_tunnels(served: Served) -> None:
    served.another("twin")
    one, two = served.opened(), served.operator.json("tunnel", "twin", "--background")["tunnel"]
    assert one["port"] != two["port"]
    assert served.get(one["port"])[0] == served.get(two["port"])[0] == 200
    assert [tunnel["name"] for tunnel in served.tunnels()] == [NAME, "twin"]
    assert "which one" in served.operator.refused("tunnel", "--stop", code=2)
    served.operator.run("tunnel", "--stop", "twin")
    assert [tunnel["name"] for tunnel in served.tunnels()] == [NAME]
    assert served.get(one["port"])[0] == 200


def test_two_at_once_make_one(served: Served) -> None:
    started = [served.operator.start("tunnel", NAME, "--background", "--json") for _ in range(3)]
    pids = {json.loads(process.communicate(timeout=60)[0])["tunnel"]["pid"] for process in started}
    assert len(pids) == 1 and [tunnel["pid"] for tunnel in served.tunnels()] == list(pids)


def test_fifty_connections_at_once(served: Served) -> None:
    port, password = served.opened()["port"], served.password
    statuses: list[int] = []
    everybody = threading.Barrier(50)

    def ask() -> None:
        everybody.wait()
        for _ in range(4):
            statuses.append(request("GET", port, "/api/2.0/mlflow/users/current", password, timeout=60)[0])

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 200
    (tunnel,) = served.tunnels()
    assert tunnel["state"] == "up" and tunnel["reconnects"] == 0


def test_a_large_artifact_up_and_down(served: Served, tmp_path: Path) -> None:
    port, password = served.opened()["port"], served.password
    data = os.urandom(1024 * 1024) * 300
    path = "/api/2.0/mlflow-artifacts/artifacts/tunnel-test/large.bin"
    assert request("PUT", port, path, password, data, timeout=120)[0] == 200
    status, back = request("GET", port, path, password, timeout=120)
    assert status == 200 and hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    assert request("DELETE", port, path, password)[0] in (200, 204)
    time.sleep(2.5)  # the state file is written every two seconds
    (tunnel,) = served.tunnels()
    assert 2 * len(data) <= tunnel["bytes"] <= 2.1 * len(data)


def test_killed_supervisor(served: Served) -> None:
    """ssh goes with it, and what it left behind is not taken for a tunnel."""
    tunnel = on_own_port(served)
    os.kill(tunnel["pid"], signal.SIGKILL)
    until(lambda: not answers(tunnel["port"]), within=5)
    assert served.tunnels() == []
    assert "no tunnel" in served.operator.refused("tunnel", "--stop", NAME)
    again = served.opened()
    assert again["pid"] != tunnel["pid"] and again["port"] == tunnel["port"]


def test_stale_state_files_name_a_living_process(served: Served) -> None:
    """A pid that was given to another program meanwhile: it is neither shown nor hurt."""
    tunnel = on_own_port(served)
    os.kill(tunnel["pid"], signal.SIGKILL)
    until(lambda: not answers(tunnel["port"]), within=5)
    with subprocess.Popen(["sleep", "60"]) as bystander:
        state = served.operator.state / "tunnels" / f"{NAME}.json"
        state.write_text(json.dumps({**json.loads(state.read_text()), "pid": bystander.pid, "state": "up"}))
        assert served.tunnels() == []
        served.operator.refused("tunnel", "--stop", NAME)
        served.operator.run("tunnel", "--stop", "--all")
        assert bystander.poll() is None
        bystander.kill()


def test_the_state_file_of_another_server(served: Served) -> None:
    """A running tunnel is not taken for one to a host it does not lead to."""
    served.opened()
    served.operator.edit(NAME, "port = 5000", "port = 5999")
    try:
        said = served.operator.refused("tunnel", NAME, "--background")
        assert "5000" in said and "5999" in said
    finally:
        served.operator.edit(NAME, "port = 5999", "port = 5000")


def test_a_key_that_is_revoked_while_it_runs(served: Served) -> None:
    keys = served.host.path(f"/home/{served.host.user}/.ssh/authorized_keys")
    kept = keys.read_bytes()
    try:
        with watched(served.operator, NAME) as tunnel:
            tunnel.reaches("up")
            keys.write_bytes(b"")
            served.end_ssh_sessions()
            document = tunnel.ended(30)
            assert tunnel.states()[-1] == "refused"
            assert document["exit_code"] == 3 and "does not let us in" in document["error"]["message"]
        said = served.operator.refused("tunnel", NAME, "--background", code=3)
        assert "ssh -v" in said
    finally:
        keys.write_bytes(kept)


def test_host_keys_in_the_background(served: Served, tmp_path: Path) -> None:
    """An unknown one needs a person, a changed one is fatal."""
    (tmp_path / "new").mkdir()
    newcomer = Operator(tmp_path, served.host.write_ssh_config(tmp_path / "new", known=False))
    shutil.copytree(served.operator.config, newcomer.config)
    said = newcomer.refused("tunnel", NAME, "--background", code=3)
    assert "is not known on this machine" in said and f"mlflow-provision tunnel {NAME}" in said
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0vnoyHCZqqgSDLMBtWvz7NSKQbLGTmCFEyzwXKrKXx"
    (tmp_path / "new" / "known_hosts").write_text(f"{served.host.address} {other}\n")
    said = newcomer.refused("tunnel", NAME, "--background", code=3)
    assert "has changed" in said and f"ssh-keygen -R {served.host.address}" in said


def test_a_person_answers_for_the_host_key_and_sees_the_live_line(served: Served, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    newcomer = Operator(tmp_path, served.host.write_ssh_config(tmp_path / "new", known=False))
    shutil.copytree(served.operator.config, newcomer.config)
    argv = [sys.executable, "-m", "mlflow_provision", "tunnel", NAME]
    with Terminal(argv, newcomer.environment, columns=100) as terminal:
        terminal.waits_for("continue connecting")
        terminal.types("yes").press("enter")
        terminal.waits_for("up: http://127.0.0.1")
        terminal.waits_for(r"up since .*B · checked \d s ago")
        terminal.press("ctrl-c")
        assert terminal.ended() == 130
        assert "ended by Ctrl-C" in str(terminal) and "Traceback" not in str(terminal)


def test_it_outlives_its_terminal(served: Served) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "mlflow_provision", "tunnel", NAME, "--background"],
        env={**served.operator.environment, "TERM": "xterm"},
        cwd=str(served.operator.home),
        encoding="utf-8",
        timeout=60,
    )
    child.expect("is up, in the background")
    child.expect(pexpect.EOF)
    child.close(force=True)
    (tunnel,) = served.tunnels()
    assert tunnel["state"] == "up" and served.get(tunnel["port"])[0] == 200


def test_a_host_that_is_not_there(served: Served, tmp_path: Path) -> None:
    nobody = served.host.write_ssh_config(tmp_path, port=2)
    stranger = Operator(tmp_path, nobody)
    shutil.copytree(served.operator.config, stranger.config)
    said = stranger.refused("tunnel", NAME, code=3)
    assert "nothing answers on its SSH port" in said and f"ssh -v {on(served.host)}" in said


def test_no_forwarding_on_the_host(served: Served) -> None:
    settings = served.host.path("/etc/ssh/sshd_config.d/no-forwarding.conf")
    settings.write_text("AllowTcpForwarding no\n")
    served.host.run(["systemctl", "reload", "ssh"])
    try:
        assert "AllowTcpForwarding" in served.operator.refused("tunnel", NAME)
    finally:
        settings.unlink()
        served.host.run(["systemctl", "reload", "ssh"])
