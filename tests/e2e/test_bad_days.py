"""Bad days of a host that has nothing yet: each ends with one clear error, the next command, and an untouched host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.bad_day import accepted, refused, replaced, squatted
from tests.e2e.operator import Operator, on
from tests.e2e.traces import untouched
from tests.lab import WITHOUT_PYTHON, Image, LabHost
from tests.lab.program import run

NAME = "server"


@pytest.fixture
def operator(host: LabHost, tmp_path: Path) -> Operator:
    return Operator(tmp_path, host.ssh_config)


# The way there


def test_nothing_answers(host: LabHost, operator: Operator) -> None:
    config = host.write_ssh_config(operator.home)
    operator.ssh_config = config
    config.write_text(config.read_text() + "    ConnectTimeout 2\n")
    host.network.cut()
    try:
        said = refused(host, operator, code=3)
    finally:
        host.network.restore()
    assert f"{on(host)} cannot be reached at {host.address} port 22: no answer within 2 s" in said
    assert f"security group) let you in? To see more: ssh -v {on(host)}" in said
    accepted(host, operator)


def test_nothing_listens(host: LabHost, operator: Operator) -> None:
    operator.ssh_config = host.write_ssh_config(operator.home, port=2222)
    said = refused(host, operator, code=3)
    assert f"{host.address} port 2222: connection refused: nothing listens there" in said


def test_a_name_that_does_not_resolve(host: LabHost, operator: Operator) -> None:
    said = operator.refused("setup", "ubuntu@no-such-host.invalid", "--yes", code=3)
    assert "ubuntu@no-such-host.invalid cannot be reached: the name 'no-such-host.invalid' is not known" in said
    assert "ssh -G ubuntu@no-such-host.invalid" in said


def test_a_host_never_seen_before(host: LabHost, operator: Operator) -> None:
    """Without a terminal nobody can be asked, and --yes is no answer to this question."""
    operator.ssh_config = host.write_ssh_config(operator.home, known=False)
    fingerprint = run(["ssh-keygen", "-lf", str(host.path("/etc/ssh/ssh_host_ed25519_key.pub"))]).stdout.split()[1]
    said = refused(host, operator, code=3)
    assert f"{host.address} port 22 is unknown" in said
    assert fingerprint in said
    assert "--accept-new-host-key" in said
    assert (operator.home / "known_hosts").read_text() == ""
    accepted(host, operator, "--accept-new-host-key")
    accepted(host, operator)  # from now on it is known


def test_a_host_whose_key_has_changed(host: LabHost, operator: Operator) -> None:
    """Fatal, whatever flags are given."""
    operator.ssh_config = host.write_ssh_config(operator.home)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(operator.home / "other")])
    other = (operator.home / "other.pub").read_text()
    known_hosts = operator.home / "known_hosts"
    known_hosts.write_text(f"{host.address} {other}")
    said = refused(host, operator, "--accept-new-host-key", code=3)
    assert f"THE HOST KEY OF {host.address} port 22 HAS CHANGED" in said
    assert f"{known_hosts} line 1" in said
    forget = said.partition("only if you know why it changed: ")[2].strip()
    assert known_hosts.read_text() == f"{host.address} {other}"
    run(forget.split())
    accepted(host, operator, "--accept-new-host-key")


def test_a_key_that_the_host_does_not_know(host: LabHost, operator: Operator) -> None:
    mine = operator.home / "mine"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(mine)])
    operator.ssh_config = host.write_ssh_config(operator.home)
    operator.ssh_config.write_text(operator.ssh_config.read_text().replace(str(host.key), str(mine)))
    said = refused(host, operator, code=3)
    assert on(host) in said
    assert str(mine) in said
    accepted(host, operator, "--identity", str(host.key))


# Becoming root there


def test_a_user_who_may_not_use_sudo(host: LabHost, operator: Operator) -> None:
    with replaced(host, "/etc/sudoers.d/no-question", "Defaults:nosudo !authenticate\n"), untouched(host):
        said = operator.refused("setup", f"nosudo@{host.name}", "--yes", code=3)
    assert f"nosudo may not use sudo on nosudo@{host.name}" in said
    assert "usermod -aG sudo nosudo" in said


def test_sudo_wants_a_password_and_nobody_is_there(host: LabHost, operator: Operator) -> None:
    with untouched(host):
        said = operator.refused("setup", f"askpass@{host.name}", "--yes", code=3)
    assert f"sudo on askpass@{host.name} wants a password, and there is no terminal to ask for it" in said
    assert f"ssh -t askpass@{host.name} sudo visudo" in said


def test_a_plan_that_nobody_confirms(host: LabHost, operator: Operator) -> None:
    with untouched(host):
        said = operator.refused("setup", on(host), code=2)
    assert "no terminal to ask" in said
    assert f"mlflow-provision setup {on(host)} --yes" in said


# The host itself


def test_a_host_without_python(tmp_path: Path) -> None:
    with LabHost(image=WITHOUT_PYTHON) as bare:
        said = refused(bare, Operator(tmp_path, bare.ssh_config))
        assert f"{on(bare)} has no python3" in said
        assert f"Next: ssh -t {on(bare)} sudo apt-get install -y python3" in said


def test_a_system_that_is_not_supported(host: LabHost, operator: Operator) -> None:
    with replaced(host, "/etc/os-release", 'ID=arch\nNAME="Arch Linux"\nPRETTY_NAME="Arch Linux"\n'):
        said = refused(host, operator)
    assert "Arch Linux is not supported" in said
    assert "Debian 11 or newer, or Ubuntu 22.04 or newer" in said
    with replaced(host, "/etc/os-release", 'ID=ubuntu\nVERSION_ID="20.04"\nPRETTY_NAME="Ubuntu 20.04.6 LTS"\n'):
        assert "Ubuntu 20.04.6 LTS is not supported" in refused(host, operator)
    accepted(host, operator)


def test_a_disk_that_is_too_small(host: LabHost, operator: Operator) -> None:
    host.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", "/opt"])
    try:
        said = refused(host, operator)
    finally:
        host.run(["umount", "/opt"])
    assert "0.3 GiB free at /opt/mlflow is too little: 2.0 needed" in said
    accepted(host, operator)


def test_a_disk_that_cannot_be_used(host: LabHost, operator: Operator) -> None:
    """Found only when it is used; the same command works once it can be."""
    for options, told, advice in (
        ("ro,size=10g", "Read-only file system: /opt/mlflow", "findmnt -T /opt/mlflow"),
        ("noexec,size=10g", "Permission denied: /opt/mlflow/bin/uv", "findmnt -T /opt/mlflow/bin/uv"),
        ("size=3g,nr_inodes=3000", "the disk is full: mlflow[auth]==3.17.2 could not be installed", "run it again"),
    ):
        host.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", "/opt"])
        try:
            said = operator.refused("setup", on(host), "--yes")
        finally:
            host.run(["umount", "/opt"])
        assert told in said
        assert advice in said
    accepted(host, operator)


def test_a_folder_in_the_place_of_a_file(host: LabHost, operator: Operator) -> None:
    unit = f"/etc/systemd/system/mlflow-{NAME}.service"
    host.run(["mkdir", unit])
    said = refused(host, operator)
    host.run(["rmdir", unit])
    assert f"Is a directory: {unit}" in said
    assert f"ls -ld {unit}" in said


def test_a_clock_that_is_off(tmp_path: Path) -> None:
    """libfaketime shifts the time for whatever sudo starts on a throw-away host, whose kernel has our clock."""
    with LabHost(image=Image().including("faketime")) as late:
        operator = Operator(tmp_path, late.ssh_config)
        library = late.run(["find", "/usr/lib", "-name", "libfaketime.so.1"]).stdout.strip()
        late.path("/etc/sudoers.d/clock").write_text("Defaults env_file=/etc/clock.env\n")
        for shift, words in (("+10m", "10 minutes ahead of"), ("-2h", "120 minutes behind")):
            late.path("/etc/clock.env").write_text(f"LD_PRELOAD={library}\nFAKETIME={shift}\n")
            said = refused(late, operator)
            assert f"the host's clock is {words} this machine's" in said
            assert "Next: set it right: sudo timedatectl set-ntp true" in said
        late.path("/etc/clock.env").write_text(f"LD_PRELOAD={library}\nFAKETIME=-2m\n")
        accepted(late, operator)


# What is there already


def test_a_port_that_another_program_has(host: LabHost, operator: Operator) -> None:
    with squatted(host, 5000, 5001):
        said = refused(host, operator)
        assert "port 5000 is used by python3 (process " in said
        assert ", squatter.service)" in said
        assert "Next: choose another: --port 5002" in said
        accepted(host, operator, "--port", "5002")
    accepted(host, operator)


def test_a_folder_that_is_not_ours(host: LabHost, operator: Operator) -> None:
    with replaced(host, "/opt/mlflow/their-data/model.bin", "precious"):
        said = refused(host, operator)
        assert "/opt/mlflow is not empty and was not made by mlflow-provision" in said
        assert "sudo mv /opt/mlflow /opt/mlflow.old" in said
        assert host.path("/opt/mlflow/their-data/model.bin").read_text() == "precious"
    host.run(["rm", "-r", "/opt/mlflow"])
    accepted(host, operator)


def test_a_unit_that_is_not_ours(host: LabHost, operator: Operator) -> None:
    unit = f"/etc/systemd/system/mlflow-{NAME}.service"
    with replaced(host, unit, "[Service]\nExecStart=/bin/true\n"):
        said = refused(host, operator)
        assert f"there is a mlflow-{NAME}.service on this host that mlflow-provision did not make" in said
        assert "Next: give this deployment another name: --name OTHER" in said
        accepted(host, operator, "--name", "team")
    accepted(host, operator)


def test_a_user_that_is_not_ours(host: LabHost, operator: Operator) -> None:
    host.run(["useradd", f"mlflow-{NAME}"])
    try:
        said = refused(host, operator)
    finally:
        host.run(["userdel", f"mlflow-{NAME}"])
    assert f"there is a user mlflow-{NAME} already, and it is not ours" in said
    assert "Next: give this deployment another name: --name OTHER" in said
    accepted(host, operator)


# Several of them


def test_several_problems_are_told_at_once(host: LabHost, operator: Operator) -> None:
    with (
        replaced(host, "/opt/mlflow/theirs", ""),
        replaced(host, f"/etc/systemd/system/mlflow-{NAME}.service", "[Service]\n"),
        replaced(host, "/etc/os-release", 'ID=arch\nPRETTY_NAME="Arch Linux"\n'),
        squatted(host, 5000),
    ):
        said = refused(host, operator, "--mlflow-version", "3.18.0")
        document = operator.json("setup", on(host), "--yes", "--mlflow-version", "3.18.0", code=1)
    host.run(["rmdir", "/opt/mlflow"])
    assert "5 things stand in the way, and nothing was changed" in said
    for words in (
        "Arch Linux is not",
        "/opt/mlflow is not empty",
        ".service on",
        "port 5000 is used by python3",
        "3.18.0",
    ):
        assert words in said
        assert words in document["error"]["message"]
    assert document["ok"] is False
    assert document["exit_code"] == 1
    accepted(host, operator)
