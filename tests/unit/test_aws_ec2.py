"""Instances as the wizard offers them, and what their security groups let in, against moto's EC2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.aws import NotAllowed, default_region, regions
from mlflow_provision.aws.ec2 import Instance, instances
from mlflow_provision.aws.login import family
from mlflow_provision.aws.security_groups import admission, exposure, openings, region_in
from mlflow_provision.errors import ProvisionError
from tests.unit.aws_account import PROFILE, REGION, account, client

pytest.importorskip("moto", reason="moto is not installed here")


@pytest.fixture
def ec2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with account(tmp_path, monkeypatch):
        yield client("ec2")


def image(ec2: Any, wanted: str) -> str:
    found = ec2.describe_images(Filters=[{"Name": "name", "Values": [wanted]}])["Images"]
    return str(found[0]["ImageId"])


def run(ec2: Any, name: str, image_id: str = "", **more: Any) -> str:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
    image_id = image_id or image(ec2, "ubuntu/images/hvm-ssd/ubuntu-xenial*")
    made = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1, TagSpecifications=tags, **more)
    return str(made["Instances"][0]["InstanceId"])


def named(name: str) -> Instance:
    return next(one for one in instances(PROFILE, REGION) if one.name == name)


def test_an_instance_and_how_to_log_in(ec2: Any, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    key = tmp_path / ".ssh" / "team-key.pem"
    key.write_text("a key")
    wanted = run(ec2, "mlflow", KeyName="team-key", InstanceType="t3.medium")
    (found,) = instances(PROFILE, REGION)
    assert (found.id, found.name, found.state, found.type) == (wanted, "mlflow", "running", "t3.medium")
    assert (found.user, found.system, found.key_name, found.identity) == ("ubuntu", "Ubuntu", "team-key", str(key))
    assert found.public_dns.endswith("amazonaws.com") and found.target == f"ubuntu@{found.public_dns}"
    assert found.private_ip and found.public_ip and found.instance_profile == ""
    assert len(found.security_groups) == 1 and found.security_groups[0].startswith("sg-")
    assert (found.why_not, found.warning) == ("", "")


def test_what_cannot_be_chosen_comes_last_and_says_why(ec2: Any) -> None:
    stopped, gone = run(ec2, "a stopped one"), run(ec2, "a gone one")
    run(ec2, "b windows", image(ec2, "Windows_Server-2016-English-Full-Base*"))
    run(ec2, "z good")
    ec2.stop_instances(InstanceIds=[stopped])
    ec2.terminate_instances(InstanceIds=[gone])
    assert [one.name for one in instances(PROFILE, REGION)] == ["z good", "a stopped one", "b windows"]
    assert named("a stopped one").why_not == (
        f"stopped: start it with aws ec2 start-instances --instance-ids {stopped} --profile {PROFILE} --region {REGION}"
    )
    assert "Windows" in named("b windows").why_not


def test_other_systems_are_offered_with_a_warning(ec2: Any) -> None:
    run(ec2, "amazon", image(ec2, "amzn2-ami-hvm-2.0.2018*"))
    found = named("amazon")
    assert (found.user, found.why_not) == ("ec2-user", "")
    assert "Amazon Linux" in found.warning and "Debian or Ubuntu" in found.warning


def test_without_a_public_address_it_is_reached_from_inside(ec2: Any) -> None:
    subnet = ec2.create_subnet(VpcId=ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"], CidrBlock="10.9.1.0/24")
    run(ec2, "inside", SubnetId=subnet["Subnet"]["SubnetId"])
    found = named("inside")
    assert found.address == found.private_ip and found.address.startswith("10.9.1.")
    assert found.why_not == "" and "jump host" in found.warning


def test_more_than_one_page_of_instances_and_images_that_are_gone(ec2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.client import BaseClient

    for number in range(7):
        run(ec2, f"host {number}")
    call = BaseClient._make_api_call

    def small_pages(self: Any, operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "DescribeInstances":
            arguments = {**arguments, "MaxResults": 5}
        return call(self, operation, {**arguments}) if operation != "DescribeImages" else {"Images": []}

    monkeypatch.setattr(BaseClient, "_make_api_call", small_pages)
    found = instances(PROFILE, REGION)
    assert len(found) == 7
    assert {one.user for one in found} == {""}  # nobody knows: it is asked
    assert found[0].target == found[0].public_dns


@pytest.mark.parametrize("key", ["", "../secret", "gone"])
def test_no_key_is_guessed_that_is_not_there(ec2: Any, tmp_path: Path, key: str) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / "secret").write_text("")
    run(ec2, "host", **({"KeyName": key} if key else {}))
    assert named("host").identity == ""


@pytest.mark.parametrize(
    ("owner", "name", "user"),
    [
        ("099720109477", "anything", "ubuntu"),
        ("136693071363", "debian-12-amd64-20260101-1", "admin"),
        ("1", "Deep Learning OSS Nvidia Driver AMI GPU PyTorch 2.7 (Ubuntu 24.04)", "ubuntu"),
        ("1", "Deep Learning Base AMI (Amazon Linux 2023)", "ec2-user"),
        ("1", "bitnami-mlflow-3.1-r01-debian-12-x86_64", "bitnami"),
        ("1", "RHEL-9.4_HVM-20260101-x86_64", "ec2-user"),
        ("1", "suse-sles-15-sp6-v20260101", "ec2-user"),
        ("1", "CentOS-7-2111-20220825", "centos"),
        ("1", "CentOS Stream 9 x86_64 20260101", "ec2-user"),
        ("1", "Rocky-9-EC2-Base-9.5", "rocky"),
        ("1", "Fedora-Cloud-Base-AmazonEC2.x86_64-41", "fedora"),
        ("1", "AlmaLinux OS 9.5", "ec2-user"),
        ("1", "al2023-ami-2023.6-kernel-6.1-x86_64", "ec2-user"),
        ("1", "our golden image 7", ""),
    ],
)
def test_every_family_has_its_user(owner: str, name: str, user: str) -> None:
    assert family(owner, name, "a description").user == user


def test_the_name_counts_before_the_description() -> None:
    assert family("1", "debian-12", "like Ubuntu").user == "admin"
    assert family("1", "golden", "made from ubuntu 24.04").user == "ubuntu"


def test_regions_and_the_default_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ec2: Any) -> None:
    assert default_region(PROFILE) == REGION
    assert {"us-east-1", "eu-central-1"} <= set(regions(PROFILE))
    assert not [region for region in regions(PROFILE) if region.startswith(("cn-", "us-gov-"))]
    (tmp_path / "aws-config").write_text(f"[profile {PROFILE}]\nregion = cn-north-1\n")
    assert "cn-northwest-1" in regions(PROFILE)


def test_no_rights_and_no_keys(ec2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    def denied(self: Any, operation: str, arguments: Any) -> None:
        message = "not authorized to perform: ec2:DescribeInstances. Encoded authorization failure message: CANARY"
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": message}}, operation)

    with monkeypatch.context() as patched:
        patched.setattr(BaseClient, "_make_api_call", denied)
        with pytest.raises(NotAllowed) as caught:
            instances(PROFILE, REGION)
        assert exposure(PROFILE, REGION, "i-1", 5000) is None
    assert "ec2:DescribeInstances is denied" in caught.value.message
    assert "aws sts get-caller-identity --profile work" in caught.value.hint
    assert "CANARY" not in caught.value.message
    with pytest.raises(ProvisionError, match="there is no AWS profile 'other'"):
        instances("other", REGION)
    with pytest.raises(ProvisionError, match="no usable access key") as missing:
        instances("", REGION)
    assert missing.value.hint.startswith("aws configure")


# What security groups let in.


def group(ec2: Any, name: str, *rules: dict[str, Any]) -> str:
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    made = str(ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"])
    if rules:
        ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=list(rules))
    return made


def tcp(first: int, last: int, cidr: str) -> dict[str, Any]:
    ranges = {"Ipv6Ranges": [{"CidrIpv6": cidr}]} if ":" in cidr else {"IpRanges": [{"CidrIp": cidr}]}
    return {"IpProtocol": "tcp", "FromPort": first, "ToPort": last, **ranges}


def test_a_port_that_is_open_to_the_world_is_told_with_its_group(ec2: Any) -> None:
    office = group(ec2, "office", tcp(22, 22, "203.0.113.0/24"), tcp(5000, 5000, "203.0.113.0/24"))
    wide = group(ec2, "wide", tcp(4000, 6000, "0.0.0.0/0"), tcp(5000, 5000, "::/0"))
    wanted = run(ec2, "mlflow", SecurityGroupIds=[office, wide])
    found = exposure(PROFILE, REGION, wanted, 5000)
    assert found is not None and found.open_to_world and not found.ssh_open_to_world
    assert {(one.group_id, one.group_name, one.cidr) for one in found.openings} == {
        (wide, "wide", "0.0.0.0/0"),
        (wide, "wide", "::/0"),
    }
    assert set(found.groups) == {office, wide} and found.instance_id == wanted and found.has_public_address
    closed = exposure(PROFILE, REGION, wanted, 443)
    assert closed is not None and not closed.open_to_world


def test_the_instance_is_found_by_every_address_it_has(ec2: Any) -> None:
    wanted = run(ec2, "mlflow", SecurityGroupIds=[group(ec2, "ssh", tcp(22, 22, "0.0.0.0/0"))])
    run(ec2, "other")
    host = named("mlflow")
    targets = (f"ubuntu@{host.public_dns}", f"ssh://ubuntu@{host.public_ip}:2222")
    for address in (wanted, host.public_dns, host.public_ip, host.private_ip, *targets):
        found = exposure(PROFILE, "", address, 5000)
        assert found is not None and found.instance_id == wanted, address
        assert found.ssh_open_to_world and not found.open_to_world
    assert exposure(PROFILE, REGION, "203.0.113.99", 5000) is None
    assert exposure(PROFILE, REGION, "name.invalid", 5000) is None
    assert exposure("no-such-profile", REGION, wanted, 5000) is None


def test_who_is_let_in_and_whether_anybody_is_there(ec2: Any) -> None:
    office = group(ec2, "office-only", tcp(22, 22, "203.0.113.0/24"), tcp(5000, 5000, "198.51.100.0/24"))
    wanted = run(ec2, "mlflow", SecurityGroupIds=[office])
    found = admission(PROFILE, REGION, f"ubuntu@{named('mlflow').public_ip}", 22)
    assert found is not None and (found.instance_id, found.state) == (wanted, "running")
    assert found.groups == (office,) and found.sources == ("203.0.113.0/24",)
    closed = admission(PROFILE, REGION, wanted, 443)
    assert closed is not None and closed.sources == ()
    ec2.stop_instances(InstanceIds=[wanted])
    stopped = admission(PROFILE, REGION, wanted, 22)
    assert stopped is not None and stopped.state == "stopped"
    assert admission(PROFILE, REGION, "203.0.113.99", 22) is None
    assert admission("no-such-profile", REGION, wanted, 22) is None


@pytest.mark.parametrize(
    ("rule", "world"),
    [
        ({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, True),
        ({"IpProtocol": "6", "FromPort": 5000, "ToPort": 5000, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, True),
        ({"IpProtocol": "udp", "FromPort": 0, "ToPort": 65535, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}, False),
        ({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}, False),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}, False),
        (tcp(5001, 65535, "0.0.0.0/0"), False),
        (tcp(0, 65535, "128.0.0.0/1"), True),
        (tcp(5000, 5000, "2000::/3"), True),
    ],
)
def test_rules(rule: dict[str, Any], world: bool) -> None:
    assert bool(list(openings([{"GroupId": "sg-2", "IpPermissions": [rule]}], 5000))) == world


def test_the_region_in_a_public_name() -> None:
    assert region_in("ec2-203-0-113-7.eu-west-1.compute.amazonaws.com") == "eu-west-1"
    assert region_in("ec2-203-0-113-7.compute-1.amazonaws.com") == "us-east-1"
    assert region_in("mlflow.example.com") == ""
