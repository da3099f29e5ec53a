"""The EC2 instances that a server could live on, and how one would log in to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_provision.aws.login import SUPPORTED, Family, family
from mlflow_provision.aws.session import client, command, told

_IMAGES_AT_ONCE = 100
_GONE = ("terminated", "shutting-down")


@dataclass(frozen=True)
class Instance:
    """`why_not` is empty for one that can be chosen, and else says why not, and what to do about it. `warning` is
    something that should be known before choosing it."""

    id: str
    name: str  # of its Name tag
    state: str
    type: str
    public_dns: str
    public_ip: str
    private_ip: str
    key_name: str
    user: str  # "" where the image does not tell
    system: str  # "Ubuntu", "Amazon Linux", …; "" where the image does not tell
    identity: str  # path of the private key in ~/.ssh that is called like its key pair; "" if there is none
    security_groups: tuple[str, ...]
    instance_profile: str  # its name; "" if it has none
    why_not: str = ""
    warning: str = ""

    @property
    def address(self) -> str:
        """What to give to ssh: the public name, else the public address, else the private one."""
        return self.public_dns or self.public_ip or self.private_ip

    @property
    def target(self) -> str:
        """user@address, as far as they are known."""
        return f"{self.user}@{self.address}" if self.user else self.address


def instances(profile: str, region: str) -> list[Instance]:
    """Every instance of the region that is not gone: those that can be chosen first, then by name."""
    ec2 = client("ec2", profile, region)
    with told(f"list the EC2 instances in {region or 'the default region'}", profile):
        found = [entry for entry in _all(ec2) if entry["State"]["Name"] not in _GONE]
    families = _families(ec2, {entry.get("ImageId", "") for entry in found})
    made = [instance(entry, families.get(entry.get("ImageId", ""), Family()), profile, region) for entry in found]
    return sorted(made, key=lambda one: (bool(one.why_not), one.name.casefold(), one.id))


def instance(entry: dict[str, Any], image: Family, profile: str, region: str) -> Instance:
    """One of DescribeInstances' answers, as we see it."""
    system = image.name or family("", entry.get("PlatformDetails", ""), entry.get("Platform", "")).name
    public_ip = entry.get("PublicIpAddress", "") or entry.get("Ipv6Address", "")
    return Instance(
        id=entry["InstanceId"],
        name=next((tag["Value"] for tag in entry.get("Tags", ()) if tag["Key"] == "Name"), ""),
        state=entry["State"]["Name"],
        type=entry.get("InstanceType", ""),
        public_dns=entry.get("PublicDnsName", ""),
        public_ip=public_ip,
        private_ip=entry.get("PrivateIpAddress", ""),
        key_name=entry.get("KeyName", ""),
        user=image.user,
        system=system,
        identity=identity(entry.get("KeyName", "")),
        security_groups=tuple(groups(entry)),
        instance_profile=entry.get("IamInstanceProfile", {}).get("Arn", "").rpartition("/")[2],
        why_not=_why_not(entry, system, profile, region),
        warning=_warning(entry, system),
    )


def groups(entry: dict[str, Any]) -> dict[str, str]:
    """The security groups of all network interfaces of an instance: their names by id."""
    interfaces = [group for one in entry.get("NetworkInterfaces", ()) for group in one.get("Groups", ())]
    return {group["GroupId"]: group.get("GroupName", "") for group in [*entry.get("SecurityGroups", ()), *interfaces]}


def identity(key_name: str) -> str:
    """The private key that EC2 gave out under this name, if it lies where people keep it."""
    if not key_name or Path(key_name).name != key_name:
        return ""
    folder = Path("~/.ssh").expanduser()
    for path in (folder / f"{key_name}.pem", folder / key_name):
        if path.is_file():
            return str(path)
    return ""


def _why_not(entry: dict[str, Any], system: str, profile: str, region: str) -> str:
    state = entry["State"]["Name"]
    if system == "Windows":
        return "runs Windows: a server needs Debian or Ubuntu"
    if state == "stopped":
        start = command(f"ec2 start-instances --instance-ids {entry['InstanceId']}", profile, region)
        return f"stopped: start it with {start}"
    if state != "running":
        return f"{state}: look again in a minute"
    return ""


def _warning(entry: dict[str, Any], system: str) -> str:
    if system not in SUPPORTED:
        return f"its system is {system}: a server needs Debian or Ubuntu"
    if entry["State"]["Name"] == "running" and not entry.get("PublicIpAddress") and not entry.get("Ipv6Address"):
        return "no public address: it is reached from inside its network, a VPN, or a jump host in ~/.ssh/config"
    return ""


def _all(ec2: Any) -> Iterator[dict[str, Any]]:
    for page in ec2.get_paginator("describe_instances").paginate():
        for reservation in page["Reservations"]:
            yield from reservation["Instances"]


def _families(ec2: Any, images: Iterable[str]) -> dict[str, Family]:
    """By the id of the image. Images that are gone, or that we may not ask about, are missing."""
    from botocore.exceptions import BotoCoreError, ClientError

    wanted = sorted(filter(None, images))
    found: dict[str, Family] = {}
    for start in range(0, len(wanted), _IMAGES_AT_ONCE):
        # As a filter: an id that is gone would make the whole question an error.
        only = [{"Name": "image-id", "Values": wanted[start : start + _IMAGES_AT_ONCE]}]
        try:
            answer = ec2.describe_images(Filters=only, IncludeDeprecated=True)
        except (ClientError, BotoCoreError):
            return found
        for image in answer["Images"]:
            texts = (image.get("Name", ""), image.get("Description", ""), image.get("PlatformDetails", ""))
            found[image["ImageId"]] = family(image.get("OwnerId", ""), *texts)
    return found
