"""The wizard, driven by a person at a terminal, against a real host."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.config import load
from tests.e2e.aws_names import aws_at, aws_away
from tests.e2e.buckets import keys_in_profile
from tests.e2e.operator import Operator
from tests.e2e.person import COLOUR, answer, asked, at_terminal, back, choose, take_the_rest
from tests.e2e.terminal import Terminal
from tests.e2e.traces import untouched
from tests.lab import Keys, LabHost, MotoS3, RcloneS3
from tests.lab.s3 import REGION

PASSWORD = "canary-Typed-password-91c2"


@pytest.fixture
def operator(host: LabHost, tmp_path: Path) -> Operator:
    return Operator(tmp_path, host.ssh_config)


def test_wrong_answers_are_told_at_once_and_a_save_changes_nothing(host: LabHost, operator: Operator) -> None:
    with untouched(host), at_terminal(operator, "setup") as terminal:
        choose(terminal, "Where should the server run", "Another host")
        answer(terminal, "Its address", "two words")
        terminal.waits_for("two words", again=True)
        terminal.press("ctrl-u").types("operator@no-such-host.invalid").press("enter")
        terminal.waits_for("no-such-host.invalid")
        choose(terminal, "What now?", "Choose another host")
        choose(terminal, "Where should the server run", host.name)
        choose(terminal, "Where should artifacts go", "A folder")
        answer(terminal, "Which folder")
        answer(terminal, "Name of the administrator", "in valid")
        terminal.waits_for("^  .*in valid|^  .*space|^  .*letters")
        terminal.press("ctrl-u").types("ada").press("enter")
        choose(terminal, "The administrator's password", "Typed by me")
        answer(terminal, "Password", "short")
        terminal.waits_for("at least 12")
        answer(terminal, "Password", PASSWORD)
        answer(terminal, "The same again", PASSWORD + "x")
        terminal.waits_for("two different passwords")
        answer(terminal, "Password", PASSWORD)
        answer(terminal, "The same again", PASSWORD)
        choose(terminal, "What may users do")
        choose(terminal, "How do people reach it")
        answer(terminal, "Port", "80")
        terminal.waits_for("^  .*80")
        terminal.press("ctrl-u").types("5055").press("enter")
        take_the_rest(terminal)
        choose(terminal, "Is this right", "Save the deployment file only")
        assert terminal.ended() == 0
    saved = load(operator.toml("server"))
    assert (saved.auth.admin_username, saved.mlflow.port, saved.host) == ("ada", 5055, host.name)
    assert PASSWORD in operator.toml("server").with_suffix(".secrets.toml").read_text()
    assert PASSWORD not in terminal.raw and "short" not in terminal.raw


def test_going_back_opens_the_question_before(host: LabHost, operator: Operator) -> None:
    with untouched(host), at_terminal(operator, "setup") as terminal:
        choose(terminal, "Where should the server run", host.name)
        choose(terminal, "Where should artifacts go", "An S3-compatible store")
        back(terminal, "URL of the store")
        choose(terminal, "Where should artifacts go", "← back")
        choose(terminal, "Where should the server run", host.name)
        choose(terminal, "Where should artifacts go", "A folder")
        answer(terminal, "Which folder", "/srv/artifacts")
        answer(terminal, "Name of the administrator", "ada")
        back(terminal, "The administrator's password")
        back(terminal, "Name of the administrator")
        answer(terminal, "Which folder")
        take_the_rest(terminal)
        choose(terminal, "Is this right", "No, leave everything")
        assert terminal.ended() == 1
    assert not operator.toml("server").exists()


@pytest.mark.parametrize("question", ["Which folder", "The administrator", "How do people", "Is this"])
def test_ctrl_c_keeps_the_answers_for_resume(host: LabHost, operator: Operator, question: str) -> None:
    with untouched(host):
        with at_terminal(operator, "setup") as terminal:
            choose(terminal, "Where should the server run", host.name)
            choose(terminal, "Where should artifacts go", "A folder")
            if question != "Which folder":
                _folder_and_name(terminal)
            take_the_rest(terminal, until=question)
            terminal.press("ctrl-c")
            assert terminal.ended() == 130
            assert "mlflow-provision setup --resume" in terminal.everything[-1]
        with at_terminal(operator, "setup", "--resume") as again:
            if question == "Which folder":
                _folder_and_name(again)
            take_the_rest(again)
            assert "Where should the server run" not in str(again)
            choose(again, "Is this right", "Save the deployment file only")
            assert again.ended() == 0
    saved = load(operator.toml("server"))
    assert (saved.artifacts.destination, saved.auth.admin_username) == ("/srv/artifacts", "ada")
    assert not (operator.config / "setup.answers.json").exists()


def _folder_and_name(terminal: Terminal) -> None:
    answer(terminal, "Which folder", "/srv/artifacts")
    answer(terminal, "Name of the administrator", "ada")


def test_a_closed_window_keeps_the_answers_too(host: LabHost, operator: Operator) -> None:
    with at_terminal(operator, "setup") as terminal:
        choose(terminal, "Where should the server run", host.name)
        choose(terminal, "Where should artifacts go", "A folder")
        _folder_and_name(terminal)
        take_the_rest(terminal, until="The administrator's password")
        terminal.kill(signal.SIGHUP)
        assert terminal.ended() != 0
    with at_terminal(operator, "setup", "--resume") as again:
        take_the_rest(again)
        assert "/srv/artifacts" in str(again) and "Which folder" not in str(again)


def test_there_is_nothing_to_resume(operator: Operator) -> None:
    with at_terminal(operator, "setup", "--resume") as terminal:
        assert terminal.ended() == 1
        assert "there is no interrupted setup" in str(terminal)


def test_a_store_with_a_wrong_key_in_a_large_window(host: LabHost, operator: Operator, rclone_s3: RcloneS3) -> None:
    """The host tries each answer at once. What is interrupted while it works goes on with the saved deployment."""
    rclone_s3.create_bucket("wizard")
    with at_terminal(operator, "setup", columns=200, rows=50) as terminal:
        choose(terminal, "Where should the server run", host.name)
        choose(terminal, "Where should artifacts go", "An S3-compatible store")
        answer(terminal, "URL of the store", rclone_s3.endpoint)
        answer(terminal, "Name of the bucket", "wizard")
        answer(terminal, "Below which prefix")
        choose(terminal, "How may the server use the bucket", "Keys that I type")
        answer(terminal, "Access key id", rclone_s3.key)
        answer(terminal, "Secret access key", "canary-wrong-key-0815")
        choose(terminal, "What now?", "Other credentials")
        refused = str(terminal)
        choose(terminal, "How may the server use the bucket", "Keys that I type")
        answer(terminal, "Access key id", rclone_s3.key)
        answer(terminal, "Secret access key", rclone_s3.secret)
        terminal.waits_for("can put, get, list and delete in s3://wizard/mlflow")
        take_the_rest(terminal)
        choose(terminal, "Is this right", "Yes, set it up")
        terminal.waits_for(r"^\S release 3", 60)  # it runs, or has just ended
        terminal.press("ctrl-c")
        assert terminal.ended(60) == 130, str(terminal)
    try:
        assert terminal.everything[-1].endswith("mlflow-provision setup server"), str(terminal)
        assert "the secret access key is wrong; its access key id is known" in refused
        assert "canary-wrong-key" not in terminal.raw and rclone_s3.secret not in terminal.raw
        assert max(map(len, terminal.everything)) <= 200
        assert "is verified" in operator.run("setup", "server", "--yes").stdout
    finally:
        operator.run("destroy", "server", "--delete-data", "--yes")


def test_a_new_bucket_of_a_profile(host: LabHost, operator: Operator, moto_s3: MotoS3) -> None:
    """It is made at once, and well. What the host cannot do is told, with the policy that would allow it."""
    keys_in_profile(operator, "work", Keys("any-key", "canary-any-secret"))
    operator.variables["AWS_ENDPOINT_URL"] = moto_s3.endpoint
    moto_s3.create_bucket("an-older-one")
    with aws_away(host, "team-artifacts"):
        with untouched(host), at_terminal(operator, "setup") as terminal:
            choose(terminal, "Where should the server run", host.name)
            choose(terminal, "Where should artifacts go", "An S3 bucket")
            choose(terminal, "Which AWS profile may list", "work")
            terminal.waits_for("an-older-one")
            choose(terminal, "Which bucket", "Create a new one")
            answer(terminal, "Name of the new bucket", "Not_A_Name")
            terminal.waits_for("^  .*(name|letters)")
            terminal.press("ctrl-u").types("team-artifacts").press("enter")
            answer(terminal, "In which region", REGION)
            answer(terminal, "Below which prefix")
            terminal.waits_for(" - The instance role of the host", 60)
            choose(terminal, "How may the server use the bucket", "A profile of ~/.aws")
            choose(terminal, "Which profile's keys", "work")
            choose(terminal, "What now?", "Show the policy")
            terminal.waits_for(r"arn:aws:s3:::team-artifacts/mlflow/\*")
            terminal.until(lambda: asked(terminal).startswith("What now?"), "nothing is asked")
            terminal.press("ctrl-c")
            assert terminal.ended() == 130
        _is_well_made(moto_s3, "team-artifacts")
        _as_moto_can(moto_s3, "team-artifacts")
        with aws_at(host, moto_s3, "team-artifacts"), at_terminal(operator, "setup", "--resume") as terminal:
            terminal.waits_for("can put, get, list and delete in s3://team-artifacts/mlflow", 60)
            take_the_rest(terminal)
            choose(terminal, "Is this right", "Yes, set it up")
            assert terminal.ended(200) == 0, str(terminal)
    try:
        assert "is verified" in str(terminal)
        assert load(operator.toml("server")).artifacts.destination == "s3://team-artifacts/mlflow"
        assert "canary-any-secret" not in "".join(operator.shown)
    finally:
        operator.run("destroy", "server", "--delete-data", "--yes")


def _is_well_made(server: MotoS3, bucket: str) -> None:
    s3 = server.client()
    closed = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(closed.values())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def _as_moto_can(server: MotoS3, bucket: str) -> None:
    """moto does not see that the policy spares HTTPS, and lists folders in which every object is deleted."""
    s3 = server.client()
    s3.delete_bucket_policy(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def test_an_instance_of_ec2(host: LabHost, operator: Operator, moto_s3: MotoS3) -> None:
    """The stopped one is greyed out with its reason; the running one is reached as the user of its image."""
    keys_in_profile(operator, "work", moto_s3.keys)
    operator.variables["AWS_ENDPOINT_URL"] = moto_s3.endpoint
    ec2 = moto_s3.client("ec2")
    running, stopped = (_instance(ec2, name) for name in ("tracking", "asleep"))
    ec2.stop_instances(InstanceIds=[stopped])
    address = ec2.describe_instances(InstanceIds=[running])["Reservations"][0]["Instances"][0]["PublicDnsName"]
    _reachable_as(host, operator, address, "ubuntu")
    with at_terminal(operator, "setup", columns=100, rows=40) as terminal:
        choose(terminal, "Where should the server run", "An EC2 instance")
        choose(terminal, "Which AWS profile may look", "work")
        answer(terminal, "In which region", "no where")
        terminal.waits_for("^  .*no where")
        terminal.press("ctrl-u").types(REGION).press("enter")
        terminal.waits_for("^ - asleep +.*stopped: start it with aws ec2", 60)
        choose(terminal, "Which instance", "tracking")
        terminal.waits_for(f"Host +ubuntu@{address}", 60)
        choose(terminal, "Where should artifacts go", "A folder")
        take_the_rest(terminal, until="How do people")
        choose(terminal, "How do people", "From every network")
        answer(terminal, "Port")
        answer(terminal, "Further names")
        terminal.waits_for("security group", 60)
        take_the_rest(terminal)
        choose(terminal, "Is this right", "Save the deployment file only")
        assert terminal.ended() == 0
    saved = load(operator.toml("server"))
    assert (saved.host, saved.mlflow.listen) == (f"ubuntu@{address}", "0.0.0.0")


def _instance(ec2: Any, name: str) -> str:
    """An instance of one of the Ubuntu images that the account knows."""
    images = ec2.describe_images(Filters=[{"Name": "name", "Values": ["ubuntu/images/*"]}])["Images"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
    made = ec2.run_instances(ImageId=images[0]["ImageId"], MinCount=1, MaxCount=1, TagSpecifications=tags)
    return str(made["Instances"][0]["InstanceId"])


def _reachable_as(host: LabHost, operator: Operator, address: str, user: str) -> None:
    """Makes the lab host answer under another name, to another user, as an instance does."""
    home = f"/home/{user}"
    host.run(["useradd", "--create-home", "--shell", "/bin/bash", user])
    host.run(["cp", "-r", f"/home/{host.user}/.ssh", f"{home}/.ssh"])
    host.run(["chown", "-R", f"{user}:{user}", f"{home}/.ssh"])
    host.run(["tee", f"/etc/sudoers.d/{user}"], input=f"{user} ALL=(ALL) NOPASSWD: ALL\n")
    config = host.write_ssh_config(operator.home)
    known = operator.home / "known_hosts"
    known.write_text(known.read_text().replace(host.address, f"{host.address},{address}"))
    config.write_text(config.read_text().replace(f"Host {host.name}\n", f"Host {host.name} {address}\n"))
    operator.ssh_config = config


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(("--plain",), {}), ((), {"TERM": "dumb"}), ((), {"NO_COLOR": "1"}), ((), {})],
    ids=["--plain", "TERM=dumb", "NO_COLOR", "coloured"],
)
def test_colours_and_movement_can_be_had_without(
    host: LabHost, operator: Operator, arguments: tuple[str, ...], variables: dict[str, str]
) -> None:
    flags = ("--artifacts", "/srv/artifacts", "--default-permission", "READ", "--backups", "/srv/backups")
    plain = "--plain" in arguments or "TERM" in variables
    operator.variables.update(variables)
    with untouched(host), at_terminal(operator, "setup", *flags, *arguments) as terminal:
        if plain:
            _plainly(terminal, host.name)
        else:
            choose(terminal, "Where should the server run", host.name)
            take_the_rest(terminal)
            choose(terminal, "Is this right", "No, leave everything")
        assert terminal.ended() == 1
        assert "Summary" in str(terminal)
        assert "Where should artifacts go" not in str(terminal)  # it has a flag
    assert bool(COLOUR.search(terminal.raw)) is (not arguments and not variables)
    if plain:
        assert "\x1b" not in terminal.raw
        assert not re.search("[\u2500-\u28ff]", terminal.raw), terminal.raw


def _plainly(terminal: Terminal, host: str) -> None:
    """The host, Enter to everything else, and no at the end."""
    _pick(terminal, host)
    terminal.waits_for("^Answer", 60, again=True)
    while "Is this right?" not in terminal.everything:
        terminal.types("\n").waits_for("^Answer", 60, again=True)
    _pick(terminal, "No, leave everything")


def _pick(terminal: Terminal, title: str) -> None:
    """Types the number of a choice."""
    line = terminal.waits_for(rf"^  \d+\) {title}")
    terminal.types(f"{line.strip().partition(')')[0]}\n")


def test_the_recommended_answers(host: LabHost, operator: Operator) -> None:
    """With --defaults a person is asked only whether to do it; without a terminal, --yes or --save-only says that."""
    with untouched(host):
        with at_terminal(operator, "setup", host.name, "--defaults") as terminal:
            choose(terminal, "Is this right", "No, leave")
            assert terminal.ended() == 1
            assert "? Where should artifacts go?  A folder on the host" in terminal.everything
        assert "--yes" in operator.refused("setup", host.name, "--defaults", code=2)
        operator.run("setup", host.name, "--defaults", "--save-only")
    assert load(operator.toml("server")).host == host.name


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((), "TARGET"), (("--resume",), "terminal"), (("--artifacts", "s3://bucket/ml"), "--instance-role")],
)
def test_without_a_terminal_it_says_what_is_missing(operator: Operator, arguments: tuple[str, ...], named: str) -> None:
    assert named in operator.refused("setup", *arguments, code=2)


# The tests below share a server; those above want the host without one.


@pytest.fixture(scope="module")
def settled(host: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Operator, Terminal]]:
    """A server that was set up with the wizard, by somebody who had never seen the host; and their terminal."""
    operator = Operator(tmp_path_factory.mktemp("operator"))
    operator.ssh_config = host.write_ssh_config(operator.home, known=False)
    with at_terminal(operator, "setup") as terminal:
        choose(terminal, "Where should the server run", host.name)
        terminal.waits_for("fingerprint")
        terminal.waits_for("Is this the right one")
        terminal.types("y\n")
        choose(terminal, "Where should artifacts go", "A folder on the host")
        answer(terminal, "Which folder")
        answer(terminal, "Name of the administrator")
        choose(terminal, "The administrator's password", "Typed by me")
        answer(terminal, "Password", PASSWORD)
        answer(terminal, "The same again", PASSWORD)
        choose(terminal, "What may users do")
        choose(terminal, "How do people reach it", "Only through an SSH tunnel")
        answer(terminal, "Port")
        choose(terminal, "Where should backups go", "Not now")
        take_the_rest(terminal)
        assert "Summary" in terminal.screen, f"the summary is longer than the window:\n{terminal}"
        choose(terminal, "Is this right", "Yes, set it up")
        assert terminal.ended(200) == 0, str(terminal)
    yield operator, terminal
    operator.run("destroy", "server", "--delete-data", "--yes")


def test_the_main_path_ends_in_a_verified_server(host: LabHost, settled: tuple[Operator, Terminal]) -> None:
    operator, terminal = settled
    lines = terminal.everything
    assert f"? Where should the server run?  {host.name}" in lines
    assert any(re.match(r"  System +Debian|  System +Ubuntu", line) for line in lines), str(terminal)
    assert "? Password  ********" in lines
    assert any(line.startswith("✓ comes back after kill -9") for line in lines)
    assert any(line.startswith("server runs MLflow") for line in lines)
    assert "  Tunnel    " in str(terminal) and "--background" in str(terminal)
    assert lines[-1] == 'mlflow.log_metric("m", 1)'
    assert max(map(len, lines)) <= 80
    assert operator.json("status")["status"]["healthy"] is True
    assert PASSWORD in operator.toml("server").with_suffix(".secrets.toml").read_text()
    assert PASSWORD not in terminal.raw
    assert not (operator.config / "setup.answers.json").exists()


def test_a_finished_step_is_one_line_and_nothing_moves_afterwards(settled: tuple[Operator, Terminal]) -> None:
    lines = settled[1].everything
    steps = [line for line in lines if line.startswith(("✓", "-"))]
    assert len(steps) > 30
    assert not any("⠋" in line or "Looking" in line or "Connecting" in line for line in lines)


def test_a_server_that_is_there_can_be_left(host: LabHost, settled: tuple[Operator, Terminal]) -> None:
    operator, _ = settled
    with untouched(host, "/opt/mlflow/server/data"), at_terminal(operator, "setup") as terminal:
        choose(terminal, "Where should the server run", host.name)
        choose(terminal, "There is a server already", "Leave everything as it is")
        assert terminal.ended() == 0
        assert terminal.everything[-1] == "Everything stays as it is."


def test_a_server_that_is_there_can_be_changed(host: LabHost, settled: tuple[Operator, Terminal]) -> None:
    """Nothing is asked again; the summary has the answers, and one of them is changed."""
    operator, _ = settled
    with at_terminal(operator, "setup") as terminal:
        choose(terminal, "Where should the server run", host.name)
        choose(terminal, "There is a server already", "Change server")
        terminal.waits_for("Plan: nothing to change", timeout=60)
        choose(terminal, "Is this right", "Change an answer")
        choose(terminal, "Which one", "Login")
        answer(terminal, "Name of the administrator")
        choose(terminal, "What may users do", "EDIT")
        choose(terminal, "Is this right", "Yes, set it up")
        terminal.waits_for("others may EDIT")
        assert terminal.ended(120) == 0, str(terminal)
    assert load(operator.toml("server")).auth.default_permission == "EDIT"
    assert "default_permission = EDIT" in host.path("/opt/mlflow/server/etc/basic_auth.ini").read_text()
    assert "No changes" in operator.run("setup", "server").stdout
