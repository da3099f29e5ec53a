"""The wizard's questions, without a terminal: what is asked, in which order, and what becomes of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_provision.aws.ec2 import Instance
from mlflow_provision.aws.security_groups import Exposure, Opening
from mlflow_provision.config import Artifacts, Backup, Deployment, Secrets, validate
from mlflow_provision.errors import ProvisionError
from mlflow_provision.wizard.answers import Answers
from mlflow_provision.wizard.conversation import Leave, Upgrade, converse
from mlflow_provision.wizard.summary import lines
from tests.unit.wizard_world import BACK, CTRL_C, Evening, FakeWorld, evening

WHERE = "Where should the server run?"
ADDRESS = "Its address, as for ssh (user@host)"
PLACE = "Where should artifacts go?"
WAY = "How may the server use the bucket?"
TO_HOST = {WHERE: "another host", ADDRESS: "ubuntu@203.0.113.7"}
TO_BUCKET = {**TO_HOST, PLACE: "s3", "Which bucket": "ours", "Which AWS profile may list": "work"}


def run(world: FakeWorld, says: dict[str, Any], answers: Answers | None = None, patient: bool = True) -> Evening:
    """The whole conversation; what comes out of it can be built."""
    it = evening(world, says, answers, patient)
    converse(it.talk)
    assert validate(it.talk.deployment) == []
    return it


def aws(**changed: Any) -> FakeWorld:
    settings: dict[str, Any] = {"aws_profiles": {"work": "eu-west-1"}, "owned_buckets": {"ours": "eu-west-1"}}
    return FakeWorld(**{**settings, **changed})


def instance(**changed: Any) -> Instance:
    settings: dict[str, Any] = {
        "id": "i-0abc",
        "name": "tracking",
        "state": "running",
        "type": "t3.small",
        "public_dns": "ec2-203-0-113-7.compute.amazonaws.com",
        "public_ip": "203.0.113.7",
        "private_ip": "10.0.0.7",
        "key_name": "team",
        "user": "ubuntu",
        "system": "Ubuntu",
        "identity": "/home/ada/.ssh/team.pem",
        "security_groups": ("sg-1",),
        "instance_profile": "",
    }
    return Instance(**{**settings, **changed})


def refuse(times: int, message: str = "AccessDenied: s3:PutObject is missing") -> Any:
    left = [times]

    def store(deployment: Deployment, secrets: Secrets) -> None:
        if left[0]:
            left[0] -= 1
            raise ProvisionError(message, "give it")

    return store


def test_this_machine_takes_the_recommended_answers() -> None:
    it = run(FakeWorld(), {})
    made = it.talk.deployment
    assert (made.host, made.name, made.artifacts.destination, made.mlflow.listen) == ("local", "local", "", "127.0.0.1")
    assert made.backup == Backup()
    assert it.person.asked == [
        WHERE,
        PLACE,
        "Which folder?",
        "Name of the administrator",
        "The administrator's password?",
        "What may users do with what others made?",
        "How do people reach it?",
        "Port",
        "Where should backups go?",
    ]


def test_a_typed_host_is_reached_at_once_and_shown() -> None:
    it = run(FakeWorld(), TO_HOST)
    assert it.talk.deployment == Deployment("server", "ubuntu@203.0.113.7")
    assert it.world.did[0] == "look ubuntu@203.0.113.7 server 5000"
    for fact in ("Debian GNU/Linux 12", "2 CPUs", "memory", "free for /home/ana/mlflow", "3.11.2"):
        assert fact in it.text


@pytest.mark.parametrize("typed", ["a b", "user:secret@host", "-oProxyCommand=x", "", "a@b@c d"])
def test_an_address_that_is_none_is_asked_again(typed: str) -> None:
    it = run(FakeWorld(), {**TO_HOST, ADDRESS: [typed, "ubuntu@host"]})
    assert it.person.told
    assert it.talk.deployment.host == "ubuntu@host"


def test_hosts_of_the_ssh_configuration_are_offered_first() -> None:
    it = run(FakeWorld(aliases=["gpu", "tracking"]), {WHERE: "tracking"})
    assert [choice.value for choice in it.person.offered[WHERE]][:2] == ["gpu", "tracking"]
    assert it.talk.deployment.host == "tracking"


def test_a_host_that_cannot_be_reached_can_be_tried_again_with_a_key_or_chosen_anew(tmp_path: Any) -> None:
    key = tmp_path / "key"
    key.touch()
    no = ProvisionError("ubuntu@203.0.113.7 refused every key", "ssh -v")
    says = {
        **TO_HOST,
        ADDRESS: ["ubuntu@203.0.113.7", "ubuntu@203.0.113.8"],
        "What now?": ["again", "key", "host", "again"],
        "Path of the private key": ["/no/such/file", str(key)],
    }
    it = run(FakeWorld(unreachable=[no, no, no]), says)
    assert it.text.count("refused every key") == 3
    assert it.person.told == ["there is no file '/no/such/file'"]
    assert it.talk.deployment.host == "ubuntu@203.0.113.8"
    assert it.talk.deployment.identity_file == ""


def test_one_may_stop_there() -> None:
    with pytest.raises(Leave):
        run(FakeWorld(unreachable=[ProvisionError("no")]), {**TO_HOST, "What now?": "leave"})


def test_an_ec2_instance_brings_its_user_and_its_key() -> None:
    stopped = instance(id="i-0def", name="old", state="stopped", why_not="stopped: start it")
    it = run(aws(ec2=[instance(), stopped]), {WHERE: "an EC2 instance", PLACE: "folder"})
    assert it.talk.deployment.host == "ubuntu@ec2-203-0-113-7.compute.amazonaws.com"
    assert it.talk.deployment.identity_file == "/home/ada/.ssh/team.pem"
    assert "instances work eu-west-1" in it.world.did
    offered = it.person.offered["Which instance?"]
    assert [choice.why_not for choice in offered] == ["", "stopped: start it"]
    for shown in ("i-0abc", "running", "t3.small", "ec2-203-0-113-7", "key team"):
        assert shown in offered[0].note


def test_the_user_of_an_unknown_image_is_asked() -> None:
    it = run(aws(ec2=[instance(user="")]), {WHERE: "an EC2 instance", "Which user": "admin", PLACE: "folder"})
    assert it.talk.deployment.host.startswith("admin@ec2-")


def test_without_a_usable_instance_another_place_can_be_chosen() -> None:
    world = aws(ec2=[instance(why_not="stopped: start it")])
    says = {
        WHERE: ["an EC2 instance", "local"],
        "Which AWS profile may look?": ["work", BACK],
        "In which region?": ["eu-west-1", BACK],
    }
    it = run(world, says)
    assert "no EC2 instance in eu-west-1 can be used now" in it.text
    assert it.talk.deployment.host == "local"


def test_a_bucket_needs_no_region_typed_where_aws_tells_it() -> None:
    it = run(aws(role=("mlflow-role", "")), TO_BUCKET)
    assert it.talk.deployment.artifacts == Artifacts("s3://ours/mlflow", "eu-west-1", credentials="instance-role")
    assert "try s3://ours/mlflow" in it.world.did
    assert "they need no cloud keys" in it.text


def test_a_new_bucket_is_made() -> None:
    says = {**TO_BUCKET, "Which bucket": "create one", "Name of the new bucket": ["Bad_Name", "ours-new"]}
    it = run(aws(role=("r", "")), says)
    assert "create ours-new eu-west-1" in it.world.did
    assert it.talk.deployment.artifacts.destination == "s3://ours-new/mlflow"
    assert it.talk.deployment.artifacts.region == "eu-west-1"
    assert len(it.person.told) == 1


def test_a_typed_bucket_may_bring_its_prefix() -> None:
    says = {**TO_BUCKET, "Which bucket": "type its name", "Name of the bucket": "s3://theirs/team/ml/"}
    it = run(aws(role=("r", "")), says)
    assert it.talk.deployment.artifacts.destination == "s3://theirs/team/ml"
    assert it.talk.deployment.artifacts.region == "eu-west-1"  # asked: the default of the profile


def test_without_a_role_the_keys_of_a_profile_are_recommended() -> None:
    it = run(aws(), TO_BUCKET)
    role, *_ = it.person.offered[WAY]
    assert (role.value, role.why_not) == ("instance-role", "this host has no instance role")
    artifacts = it.talk.deployment.artifacts
    assert (artifacts.credentials, artifacts.profile) == ("profile", "work")


def test_a_compatible_store_is_never_offered_a_role() -> None:
    says = {
        **TO_HOST,
        PLACE: "compatible",
        "URL of the store": ["minio.example.com", "https://minio.example.com"],
        "Name of the bucket": "ours",
        "Access key id": "KEY-ID",
        "Secret access key": "CANARY-secret",
    }
    it = run(FakeWorld(), says)
    assert [choice.value for choice in it.person.offered[WAY]] == ["profile", "keys"]
    artifacts = it.talk.deployment.artifacts
    assert (artifacts.endpoint_url, artifacts.credentials) == ("https://minio.example.com", "keys")
    assert it.talk.answers.secrets.aws_secret_access_key == "CANARY-secret"
    assert len(it.person.told) == 1


def test_keys_that_do_not_work_are_told_at_once_and_typed_again() -> None:
    says = {
        **TO_BUCKET,
        WAY: "keys",
        "Access key id": ["WRONG", "RIGHT"],
        "Secret access key": "CANARY-secret",
        "What now?": "credentials",
    }
    it = run(aws(store=refuse(1, "the access key WRONG is unknown")), says)
    assert "the access key WRONG is unknown" in it.text
    assert it.talk.answers.secrets.aws_access_key_id == "RIGHT"
    assert it.world.did.count("try s3://ours/mlflow") == 2


def test_the_policy_can_be_shown_and_another_bucket_chosen() -> None:
    says = {**TO_BUCKET, "What now?": ["policy", "bucket", "again"], "Which bucket": ["ours", "other"]}
    it = run(aws(owned_buckets={"ours": "eu-west-1", "other": "eu-north-1"}, store=refuse(2)), says)
    assert "POLICY for s3://ours/mlflow" in it.text
    assert it.talk.deployment.artifacts.destination == "s3://other/mlflow"
    assert it.talk.deployment.artifacts.region == "eu-north-1"


def test_a_role_can_be_made_for_an_instance_without_one() -> None:
    says = {**TO_BUCKET, WHERE: "an EC2 instance", WAY: "make a role"}
    it = run(aws(ec2=[instance()]), says)
    assert "role for s3://ours/mlflow on i-0abc" in it.world.did
    assert it.talk.deployment.artifacts.credentials == "instance-role"


def test_the_policy_can_be_seen_first_and_a_user_made_for_it() -> None:
    it = run(aws(), {**TO_BUCKET, WAY: ["policy", "make a user"]})
    assert "POLICY for s3://ours/mlflow" in it.text
    assert "user for s3://ours/mlflow" in it.world.did
    assert it.talk.deployment.artifacts.credentials == "keys"
    assert it.talk.answers.secrets.aws_access_key_id == "MADE-ID"
    assert "Access key id" not in it.person.asked
    assert "CANARY" not in it.text


def test_a_password_is_typed_twice() -> None:
    says = {
        "The administrator's password?": "typed",
        "Password": ["short", "correct horse battery", "correct horse battery"],
        "The same again": ["incorrect horse", "correct horse battery"],
    }
    it = run(FakeWorld(), says)
    assert it.talk.answers.secrets.admin_password == "correct horse battery"
    assert "two different passwords" in it.text
    assert len(it.person.told) == 1


def test_a_password_that_is_known_is_not_asked() -> None:
    it = run(FakeWorld(stored=Secrets(admin_password="correct horse battery")), {})
    assert "The administrator's password?" not in it.person.asked


def test_listening_wider_is_warned_about_and_looks_at_the_security_group() -> None:
    opening = Opening("sg-1", "default", "0.0.0.0/0")
    exposed = Exposure("i-0abc", 5000, ("sg-1",), (opening,), (), True)
    says = {**TO_HOST, "How do people reach it?": "0.0.0.0", "Further names": "mlflow.example.com"}
    it = run(FakeWorld(exposed=exposed), says)
    assert "without encryption" in it.text
    assert "sg-1 opens port 5000 to the whole world" in it.text
    assert it.talk.deployment.mlflow.allowed_hosts == ("mlflow.example.com",)


def test_a_port_that_is_taken_is_said_by_whom() -> None:
    owner = {"pid": 1, "name": "nginx", "unit": "", "ours": False}
    world = FakeWorld(changed_facts={"port_owner": owner, "free_port": 5001})
    it = evening(world, {"Port": ["80", "x", "5002", "5003"]})
    original = world.look

    def look(deployment: Deployment) -> dict[str, Any]:
        found = original(deployment)
        return {**found, "port_owner": None} if deployment.mlflow.port == 5003 else found

    world.look = look  # type: ignore[method-assign]
    converse(it.talk)
    assert it.talk.deployment.mlflow.port == 5003
    assert "Port 5000 is used by nginx." in it.text
    assert "Port 5002 is used by nginx; 5001 is free." in it.text
    assert len(it.person.told) == 2


def test_a_place_for_backups_is_tried() -> None:
    says = {**TO_BUCKET, "Where should backups go": "s3", "How often?": "weekly", "Of how many days": "0"}
    it = run(aws(role=("r", "")), says)
    assert it.talk.deployment.backup == Backup("s3://ours/mlflow-backups", "weekly", keep_daily=0)
    assert "try s3://ours/mlflow-backups" in it.world.did
    assert it.talk.answers.secrets.backup_passphrase == ""


def test_backups_on_this_machine_have_no_schedule() -> None:
    says = {**TO_HOST, "Where should backups go": "operator", "Which place?": ["~/a/../b", "~/b"]}
    it = run(FakeWorld(), says)
    assert it.talk.deployment.backup == Backup("operator:~/b", "off")
    assert "How often?" not in it.person.asked
    assert {line.label: line.text for line in lines(it.talk)}["Backups"].startswith(
        "operator:~/b, when you ask for one"
    )


def test_a_server_on_this_machine_has_no_other_one_for_backups() -> None:
    it = run(FakeWorld(), {})
    assert "operator" not in [one.value for one in it.person.offered["Where should backups go?"]]


def test_backups_are_encrypted_with_a_passphrase_that_is_kept() -> None:
    says = {**TO_HOST, "Where should backups go": "folder", "Are backups encrypted?": "generated"}
    it = run(FakeWorld(), says)
    assert it.talk.deployment.backup.encryption == "passphrase"
    assert len(it.talk.answers.secrets.backup_passphrase) >= 24
    assert it.talk.answers.secrets.backup_passphrase not in it.text
    assert "encrypted" in {line.label: line.text for line in lines(it.talk)}["Backups"]


def test_a_known_passphrase_is_kept() -> None:
    answers = Answers(secrets=Secrets(backup_passphrase="the one it always had"))
    says = {**TO_HOST, "Where should backups go": "folder", "Are backups encrypted?": "generated"}
    it = run(FakeWorld(), says, answers)
    assert it.talk.answers.secrets.backup_passphrase == "the one it always had"


def test_a_typed_passphrase_is_typed_twice() -> None:
    says = {
        **TO_HOST,
        "Where should backups go": "folder",
        "Are backups encrypted?": "typed",
        "Passphrase of the backups": ["short", "four words or more", "four words or more"],
        "The same again": ["four words or mor", "four words or more"],
    }
    it = run(FakeWorld(), says)
    assert it.talk.answers.secrets.backup_passphrase == "four words or more"
    assert "two different passphrases" in it.text


def test_backups_in_a_bucket_are_not_offered_without_credentials() -> None:
    says = {**TO_HOST, "Where should backups go": "folder", "Which place?": ["/opt/mlflow/x", "/srv/backups"]}
    it = run(FakeWorld(), says)
    assert [bool(one.why_not) for one in it.person.offered["Where should backups go?"]] == [
        False,
        True,
        False,
        False,
    ]
    assert it.talk.deployment.backup.destination == "/srv/backups"


def test_back_returns_to_the_question_before_and_past_looks() -> None:
    says = {**TO_HOST, ADDRESS: ["ubuntu@one", "ubuntu@two"], PLACE: [BACK, "folder"]}
    it = run(FakeWorld(), says)
    assert it.person.asked[:5] == [WHERE, ADDRESS, PLACE, ADDRESS, PLACE]
    assert it.talk.deployment.host == "ubuntu@two"


def test_back_at_the_first_question_asks_it_again() -> None:
    it = run(FakeWorld(), {WHERE: [BACK, BACK, "local"]})
    assert it.person.asked[:3] == [WHERE] * 3


def test_what_a_flag_says_is_not_asked() -> None:
    flags = {
        "artifacts.destination": "s3://ours/ml",
        "artifacts.region": "eu-west-1",
        "artifacts.credentials": "instance-role",
        "auth.admin_username": "boss",
        "mlflow.port": 5050,
        "backup.destination": "s3://backups/ml",
    }
    it = run(aws(role=("r", "")), TO_HOST, Answers(keys=flags))
    assert it.person.asked == [
        WHERE,
        ADDRESS,
        "The administrator's password?",
        "What may users do with what others made?",
        "How do people reach it?",
    ]
    made = it.talk.deployment
    assert (made.artifacts.destination, made.mlflow.port, made.backup.destination) == (
        "s3://ours/ml",
        5050,
        "s3://backups/ml",
    )
    assert "try s3://ours/ml" in it.world.did


def test_every_answer_is_kept_before_the_next_question() -> None:
    it = evening(FakeWorld(), {**TO_HOST, "Name of the administrator": CTRL_C})
    with pytest.raises(KeyboardInterrupt):
        converse(it.talk)
    kept = it.kept[-1]
    assert kept.keys["host"] == "ubuntu@203.0.113.7"
    assert {"where.address", "artifacts.folder"} <= kept.done
    assert "login.username" not in kept.done


def test_nobody_to_correct_anything_ends_it() -> None:
    with pytest.raises(ProvisionError, match="s3:PutObject is missing"):
        run(aws(role=("r", ""), store=refuse(9)), TO_BUCKET, patient=False)


OURS = {"name": "server", "mlflow_version": "3.17.2", "port": 5000}


def test_a_server_of_ours_can_be_changed() -> None:
    known = Deployment("server", "ubuntu@203.0.113.7", backup=Backup("/srv/backups"))
    world = FakeWorld(known={"server": known}, changed_facts={"deployments": [OURS], "admin_exists": True})
    world.stored = Secrets(admin_password="correct horse battery")
    it = run(world, TO_HOST)
    assert it.talk.deployment == known
    assert it.person.asked == [WHERE, ADDRESS, "There is a server already. What now?"]
    converse(it.talk, {"network.port"})
    assert it.person.asked[3:] == ["Port"]


def test_one_with_an_older_mlflow_can_be_upgraded() -> None:
    known = {"server": Deployment("server", "ubuntu@203.0.113.7")}
    older = {**OURS, "mlflow_version": "3.10.1"}
    with pytest.raises(Upgrade) as wish:
        run(
            FakeWorld(known=known, changed_facts={"deployments": [older]}),
            {**TO_HOST, "There is a server already": "upgrade server"},
        )
    assert wish.value.name == "server"


@pytest.mark.parametrize(
    ("version", "here", "offered"), [("3.10.1", True, True), ("3.10.1", False, False), ("3.17.2", True, False)]
)
def test_an_upgrade_is_offered_where_there_is_one(version: str, here: bool, offered: bool) -> None:
    known = {"server": Deployment("server", "ubuntu@203.0.113.7" if here else "ubuntu@elsewhere")}
    it = run(
        FakeWorld(known=known, changed_facts={"deployments": [{**OURS, "mlflow_version": version}]}),
        {**TO_HOST, "There is a server already": "beside", "What should it be called?": "blue"},
    )
    choices = {choice.value: choice for choice in it.person.offered["There is a server already. What now?"]}
    assert ("upgrade server" in choices) is offered
    assert not offered or "from MLflow 3.10.1 to 3.17.2" in choices["upgrade server"].note


def test_or_left_alone() -> None:
    world = FakeWorld(changed_facts={"deployments": [OURS]})
    with pytest.raises(Leave):
        run(world, {**TO_HOST, "There is a server already": "leave"})


def test_one_that_was_set_up_elsewhere_says_what_is_missing() -> None:
    it = run(FakeWorld(changed_facts={"deployments": [OURS]}), TO_HOST)
    change, beside, _ = it.person.offered["There is a server already. What now?"]
    assert "server.secrets.toml" in change.why_not
    assert (beside.value, it.talk.deployment.name) == ("beside", "staging")


def test_a_new_name_is_not_one_that_is_taken() -> None:
    world = FakeWorld(known={"prod": Deployment("prod", "a@b")}, changed_facts={"deployments": [OURS]})
    says = {
        **TO_HOST,
        "There is a server already": "beside",
        "What should it be called?": ["server", "prod", "No!", "blue"],
    }
    it = run(world, says)
    assert it.talk.deployment.name == "blue"
    assert len(it.person.told) == 3


def test_a_server_that_a_script_made_can_be_taken_over() -> None:
    world = FakeWorld(changed_facts={"old_server": {"tree": "/home/ubuntu/mlflow-server"}})
    it = run(world, TO_HOST)
    assert "/home/ubuntu/mlflow-server" in it.text
    assert it.talk.answers.adopt
    assert it.talk.deployment.mlflow.port == 5050
    assert it.talk.deployment.auth.admin_username == "boss"
    assert it.person.asked == [WHERE, ADDRESS, "There is a server already. What now?"]


def test_whose_password_is_not_in_its_configuration_can_be_typed() -> None:
    world = FakeWorld(changed_facts={"old_server": {"tree": "/home/ubuntu/mlflow-server"}})
    it = run(world, {**TO_HOST, "The administrator's password on the old server": "correct horse battery"})
    converse(it.talk, {one.id for one in it.talk.questions if one.section == "login"})
    assert it.talk.answers.secrets.admin_password == "correct horse battery"
    assert "The administrator's password?" not in it.person.asked


def test_an_old_way_to_the_bucket_that_cannot_be_ours_is_asked_anew() -> None:
    world = aws(role=("r", ""), changed_facts={"old_server": {"tree": "/home/ubuntu/mlflow-server"}})
    world.old_settings = lambda facts: {"artifacts.destination": "s3://ours/ml", "artifacts.region": "eu-west-1"}  # type: ignore[method-assign]
    it = run(world, TO_HOST)
    assert it.person.asked == [WHERE, ADDRESS, "There is a server already. What now?", WAY]
    assert it.talk.deployment.artifacts.credentials == "instance-role"


def test_the_summary_says_every_answer_in_80_columns() -> None:
    says = {**TO_BUCKET, "Where should backups go": "s3"}
    it = run(aws(role=("r", "")), says)
    shown = {line.label: line.text for line in lines(it.talk)}
    assert shown["Host"].startswith("ubuntu@203.0.113.7, Debian")
    assert shown["Artifacts"] == "s3://ours/mlflow"
    assert shown["Credentials"] == "the instance role of the host"
    assert shown["Login"] == "admin, a generated password; others may READ"
    assert shown["Network"] == "port 5000, only through an SSH tunnel"
    assert shown["Backups"].startswith("s3://ours/mlflow-backups, daily")
    assert {line.section for line in lines(it.talk)} - {""} == {
        "where",
        "existing",
        "artifacts",
        "credentials",
        "login",
        "network",
        "backups",
    }


def test_changing_the_place_asks_what_follows_from_it() -> None:
    it = run(aws(role=("r", "")), TO_HOST)
    assert it.talk.deployment.artifacts == Artifacts()
    it.person.says |= TO_BUCKET
    before = len(it.person.asked)
    converse(it.talk, {question.id for question in it.talk.questions if question.section == "artifacts"})
    assert it.person.asked[before:] == [
        PLACE,
        "Which AWS profile may list your buckets?",
        "Which bucket?",
        "Below which prefix of the bucket?",
        WAY,
    ]
    assert it.talk.deployment.artifacts.credentials == "instance-role"
