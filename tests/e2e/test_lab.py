"""The lab itself: what other tests take for granted about their hosts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.e2e.waiting import until
from tests.lab import SUDO_PASSWORD, DelayProxy, Keys, LabHost, MotoS3, ProgramFailed, RcloneS3
from tests.lab.claims import hosts_dir
from tests.lab.image import mirror_for, own_suite
from tests.lab.network import Network
from tests.lab.program import Finished, run
from tests.lab.s3 import REGION

REPOSITORY = Path(__file__).parents[2]
LAB = (sys.executable, "-m", "tests.lab")


def test_systemd_runs_as_on_a_real_host(host: LabHost) -> None:
    assert host.run(["ps", "-p", "1", "-o", "comm="]).stdout.strip() == "systemd"
    assert host.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
    assert host.run(["hostname"]).stdout.strip() == host.name
    host.run(["systemd-run", "--wait", "--quiet", "--uid=nosudo", "--property=ProtectSystem=strict", "true"])


def test_run_is_the_user_it_says(host: LabHost) -> None:
    assert host.run(["id", "-un"]).stdout == "root\n"
    assert host.run(["sh", "-c", "id -un; echo $HOME"], user="nosudo").stdout == "nosudo\n/home/nosudo\n"
    assert host.run(["cat"], input="to stdin").stdout == "to stdin"
    with pytest.raises(ProgramFailed, match="no-such-file"):
        host.run(["ls", "/no-such-file"])


def test_ssh_and_sudo_differ_by_user(host: LabHost) -> None:
    assert host.ssh(["sudo", "-n", "id", "-un"]).stdout == "root\n"
    assert host.ssh(["sudo", "-n", "true"], user="askpass", check=False).returncode != 0
    password = SUDO_PASSWORD + "\n"
    assert host.ssh(["sudo", "-S", "id", "-un"], user="askpass", input=password).stdout == "root\n"
    assert host.ssh(["sudo", "-S", "true"], user="nosudo", input=password, check=False).returncode != 0
    assert host.ssh(["echo", "two  spaces; $HOME"]).stdout == "two  spaces; $HOME\n"


def test_an_unknown_host_key_is_refused(host: LabHost, tmp_path: Path) -> None:
    unknown = host.write_ssh_config(tmp_path, known=False)
    refused = run(["ssh", "-F", str(unknown), "-o", "BatchMode=yes", host.name, "true"], check=False)
    assert "Host key verification failed" in refused.stderr


def test_the_host_trusts_what_this_machine_trusts(host: LabHost) -> None:
    index = pytest.importorskip("pip._internal.models.index", reason="pip knows the package index").PyPI.simple_url
    fetch = "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=20)"
    host.run(["python3", "-c", fetch, f"{index}/uv/"])


def test_the_internet_can_be_blocked_while_ssh_works(host: LabHost) -> None:
    release = mirror_for(own_suite()) + f"/dists/{own_suite()}/Release"
    fetch = ["curl", "--silent", "--fail", "--head", "--max-time", "20", release]
    host.run(fetch)
    host.network.block_internet("REJECT")
    try:
        assert host.run(fetch, check=False).returncode != 0
        assert host.ssh(["true"]).returncode == 0
    finally:
        host.network.allow_internet()
    host.run(fetch)


def test_a_cut_link_is_silent_until_restored(host: LabHost) -> None:
    connect = ["ssh", "-F", str(host.ssh_config), "-o", "ConnectTimeout=1", host.name, "true"]
    host.network.cut()
    try:
        assert "timed out" in run(connect, check=False).stderr
    finally:
        host.network.restore()
    run(connect)


def test_changed_files_are_all_that_was_written(host: LabHost) -> None:
    host.run(["mkdir", "-p", "/opt/things"])
    host.run(["touch", "/opt/things/before", "/opt/things/gone"])
    since = host.now()
    host.run(["sh", "-c", "echo new > /opt/things/new; ln -s new /opt/things/link; chmod 600 /etc/fstab"])
    host.run(["rm", "/opt/things/gone", "/etc/issue"])
    host.run(["touch", "/tmp/noise", "/run/noise"])
    assert host.changed_files(since) == ["-/etc/issue", "/etc/fstab", "/opt/things/link", "/opt/things/new"]
    assert host.path("/opt/things/new").read_text() == "new\n"


def test_reboot_from_outside_and_from_inside(host: LabHost) -> None:
    def boot_id() -> str:
        return host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout

    host.run(["touch", "/opt/survives", "/run/does-not"])
    first = boot_id()
    host.reboot()
    second = boot_id()
    assert second != first
    assert host.path("/opt/survives").exists()
    assert host.run(["ls", "/run/does-not"], check=False).returncode != 0

    host.ssh(["sudo", "systemctl", "reboot"], check=False)
    until(lambda: host.running and boot_id() != second, lambda: "it did not reboot by itself", pause=0.1, within=30)
    host.wait_ready()
    assert host.ssh(["true"]).returncode == 0


def test_files_survive_a_power_cut(host: LabHost) -> None:
    host.run(["touch", "/opt/there"])
    host.kill()
    assert not host.running
    host.start()
    host.run(["ls", "/opt/there"])


def test_a_far_host_is_slower_and_can_be_cut(host: LabHost, tmp_path: Path) -> None:
    with DelayProxy((host.address, host.port), delay=0.05) as far:
        config = host.write_ssh_config(tmp_path, address=far.address, port=far.port)
        connect = ["ssh", "-F", str(config), "-o", "BatchMode=yes", host.name]
        began = time.monotonic()
        run([*connect, "true"])
        assert time.monotonic() - began > 0.5  # SSH needs at least five round trips

        far.delay = 0
        assert run([*connect, "cat"], input="x" * 3_000_000).stdout == "x" * 3_000_000
        far.cut_after(1_000_000)
        assert run([*connect, "cat"], input="x" * 3_000_000, check=False).returncode == 255
        run([*connect, "true"])

        with subprocess.Popen([*connect, "sleep", "60"], stderr=subprocess.DEVNULL) as asleep:
            time.sleep(0.5)
            far.cut()
            assert asleep.wait(10) == 255


def test_a_snapshot_is_the_start_of_several_hosts() -> None:
    with LabHost() as prepared:
        prepared.run(["mkdir", "-p", "/opt/expensive/deep"])
        prepared.run(["sh", "-c", "echo prepared > /opt/expensive/deep/file"])
        snapshot = prepared.snapshot()
        key = prepared.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text()
    try:
        with LabHost(base=snapshot) as one, LabHost(base=snapshot) as two:
            assert one.address != two.address
            assert one.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text() != key
            assert one.run(["hostname"]).stdout.strip() == one.name
            # a plain overlay refuses this rename, no real disk does
            one.run(["python3", "-c", "import os; os.rename('/opt/expensive', '/opt/renamed')"])
            assert one.ssh(["cat", "/opt/renamed/deep/file"]).stdout == "prepared\n"
            assert two.ssh(["cat", "/opt/expensive/deep/file"]).stdout == "prepared\n"
            assert one.run(["cat", "/etc/machine-id"]).stdout != two.run(["cat", "/etc/machine-id"]).stdout
    finally:
        snapshot.remove()
    assert not snapshot.folder.exists()


def s3(host: LabHost, keys: Keys | None, method: str, url: str, body: str = "") -> Finished:
    """A signed request, sent from the host, which has no S3 program of its own."""
    request = AWSRequest(method, url, data=body)
    if keys is not None:
        S3SigV4Auth(Credentials(*keys), "s3", REGION).add_auth(request)
    headers = [f"-H{name}: {value}" for name, value in request.headers.items()]
    send = ["--data-binary", body, "-HContent-Type:"] if body else []
    curl = ["curl", "--silent", "--show-error", "--fail", "--max-time", "10", "--request", method]
    return host.run([*curl, *headers, *send, url], check=False)


def test_the_host_reaches_rclone_s3_and_wrong_keys_do_not_help(host: LabHost, rclone_s3: RcloneS3) -> None:
    rclone_s3.create_bucket("lab-test")
    url = f"{rclone_s3.endpoint}/lab-test/hello"
    assert s3(host, rclone_s3.keys, "PUT", url, "hello").stderr == ""
    assert (rclone_s3.folder / "lab-test" / "hello").read_text() == "hello"
    assert s3(host, rclone_s3.keys, "GET", url).stdout == "hello"
    assert "403" in s3(host, Keys(rclone_s3.key, "wrong"), "GET", url).stderr
    assert "error: 400" in s3(host, None, "GET", url).stderr  # unsigned


def test_the_host_reaches_moto_s3_with_any_keys(host: LabHost, moto_s3: MotoS3) -> None:
    moto_s3.create_bucket("lab-test")
    url = f"{moto_s3.endpoint}/lab-test/hello"
    assert s3(host, Keys("x", "y"), "PUT", url, "hello").stderr == ""
    assert s3(host, Keys("x", "y"), "GET", url).stdout == "hello"
    assert moto_s3.client("s3").get_object(Bucket="lab-test", Key="hello")["Body"].read() == b"hello"


def test_moto_enforces_a_policy_when_asked_to(host: LabHost) -> None:
    with MotoS3(enforce_iam=True) as aws:
        aws.create_bucket("mine")
        aws.create_bucket("other")
        allowed = {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": "arn:aws:s3:::mine/*"}
        keys = aws.create_user("server", {"Version": "2012-10-17", "Statement": [allowed]})
        assert s3(host, keys, "PUT", f"{aws.endpoint}/mine/hello", "hello").stderr == ""
        assert s3(host, keys, "GET", f"{aws.endpoint}/mine/hello").stdout == "hello"
        assert "403" in s3(host, keys, "PUT", f"{aws.endpoint}/other/hello", "hello").stderr
        assert "403" in s3(host, Keys("any", "key"), "GET", f"{aws.endpoint}/mine/hello").stderr


@pytest.fixture
def name() -> Iterator[str]:
    """For a host that another process makes; ended even if the test fails."""
    chosen = f"by-hand-{os.getpid()}"
    yield chosen
    if (hosts_dir() / chosen).exists():
        LabHost.find(chosen).remove()


def test_the_command_brings_a_host_up_and_down(name: str) -> None:
    assert f"ssh -F {hosts_dir() / name / 'ssh_config'} {name}" in run([*LAB, "up", "--name", name]).stdout
    run([*LAB, "gc"])
    assert f"{name} " in run([*LAB, "list"]).stdout
    assert run([*LAB, "ssh", name, "sudo", "id", "-un"]).stdout == "root\n"
    run([*LAB, "down", name])
    assert f"{name} " not in run([*LAB, "list"]).stdout
    assert "no lab host" in run([*LAB, "down", name], check=False).stderr


def test_what_a_killed_run_leaves_is_collected(name: str) -> None:
    script = f"from tests.lab import LabHost; h = LabHost({name!r}).start(); print(h.network.number); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as doomed:
        assert doomed.stdout is not None
        network = Network(int(doomed.stdout.readline()))
        run([*LAB, "gc"])
        assert LabHost.find(name).running, "gc took the host of a living run"
        doomed.send_signal(signal.SIGKILL)
    crashed = LabHost.find(name)
    group = crashed.place.group
    assert crashed.running, "the host is expected to outlive a killed run"

    assert name in run([*LAB, "gc"]).stdout
    assert not group.processes()
    assert not any(folder.exists() for folder in group.folders)
    assert not network.exists()
    assert f"{network.namespace} " not in run(["iptables-save"]).stdout
    assert name not in Path("/proc/mounts").read_text()
    assert not (hosts_dir() / name).exists()
