"""Who may knock at a port of an instance: what its security groups let in."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_provision.aws.ec2 import groups
from mlflow_provision.aws.session import client
from mlflow_provision.errors import ProvisionError
from mlflow_provision.ssh_target import target_of

SSH = 22
# 0.0.0.0/0 and ::/0; and what comes to the same, as 2000::/3, which is all of IPv6 that is in use.
LARGEST_NEIGHBOURHOOD = 8

_EC2_NAME = re.compile(r"ec2-[\d-]+\.(?:([a-z0-9-]+)\.)?compute(?:-1)?\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True)
class Opening:
    """A rule that lets all the world in."""

    group_id: str
    group_name: str
    cidr: str


@dataclass(frozen=True)
class Exposure:
    """What the security groups of an instance let in from everywhere. Other firewalls may still stand before it."""

    instance_id: str
    port: int
    groups: tuple[str, ...]  # ids of all of its groups
    openings: tuple[Opening, ...]  # for `port`
    ssh_openings: tuple[Opening, ...]
    has_public_address: bool

    @property
    def open_to_world(self) -> bool:
        return bool(self.openings)

    @property
    def ssh_open_to_world(self) -> bool:
        return bool(self.ssh_openings)


def exposure(profile: str, region: str, address: str, port: int) -> Exposure | None:
    """For the instance with this id, address or name (ssh's user and port are ignored). None when it cannot be told:
    no such instance in the region, no rights, no credentials, no answer. Raises nothing."""
    from botocore.exceptions import BotoCoreError, ClientError

    address = target_of(address).host
    try:
        ec2 = client("ec2", profile, region or region_in(address))
        entry = _find(ec2, address)
        if entry is None:
            return None
        known = groups(entry)
        if not known:
            return None
        answer = ec2.describe_security_groups(GroupIds=list(known))["SecurityGroups"]
    except (ClientError, BotoCoreError, ProvisionError):
        return None
    return Exposure(
        entry["InstanceId"],
        port,
        tuple(known),
        tuple(openings(answer, port)),
        tuple(openings(answer, SSH)),
        bool(entry.get("PublicIpAddress") or entry.get("Ipv6Address")),
    )


@dataclass(frozen=True)
class Admission:
    """Whom the security groups of an instance let in at one port."""

    instance_id: str
    state: str  # "running", "stopped", …
    groups: tuple[str, ...]  # ids
    sources: tuple[str, ...]  # networks, prefix lists and other groups


def admission(profile: str, region: str, address: str, port: int) -> Admission | None:
    """The same of one TCP port, for everybody. None when it cannot be told. Raises nothing."""
    from botocore.exceptions import BotoCoreError, ClientError

    address = target_of(address).host
    try:
        ec2 = client("ec2", profile, region or region_in(address))
        entry = _find(ec2, address)
        if entry is None:
            return None
        known = groups(entry)
        answer = ec2.describe_security_groups(GroupIds=list(known))["SecurityGroups"] if known else []
    except (ClientError, BotoCoreError, ProvisionError):
        return None
    return Admission(entry["InstanceId"], entry["State"]["Name"], tuple(known), tuple(sources(answer, port)))


def sources(security_groups: list[dict[str, Any]], port: int) -> Iterator[str]:
    """From where the rules of DescribeSecurityGroups' answer let in at a TCP port."""
    lists = (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6"), ("PrefixListIds", "PrefixListId"))
    for group in security_groups:
        for rule in group.get("IpPermissions", ()):
            if _concerns(rule, port):
                for name, key in (*lists, ("UserIdGroupPairs", "GroupId")):
                    yield from (one[key] for one in rule.get(name, ()) if one.get(key))


def openings(security_groups: list[dict[str, Any]], port: int) -> Iterator[Opening]:
    """The rules of DescribeSecurityGroups' answer that let everybody reach a TCP port."""
    for group in security_groups:
        for rule in group.get("IpPermissions", ()):
            if not _concerns(rule, port):
                continue
            cidrs = [one["CidrIp"] for one in rule.get("IpRanges", ())]
            cidrs += [one["CidrIpv6"] for one in rule.get("Ipv6Ranges", ())]
            for cidr in filter(_is_the_world, cidrs):
                yield Opening(group["GroupId"], group.get("GroupName", ""), cidr)


def region_in(address: str) -> str:
    """The region that the public name of an instance tells; "" for any other name."""
    found = _EC2_NAME.fullmatch(address)
    return (found[1] or "us-east-1") if found else ""


def _concerns(rule: dict[str, Any], port: int) -> bool:
    if rule["IpProtocol"] == "-1":
        return True
    return rule["IpProtocol"] in ("tcp", "6") and rule.get("FromPort", 0) <= port <= rule.get("ToPort", 65535)


def _is_the_world(cidr: str) -> bool:
    return ipaddress.ip_network(cidr, strict=False).prefixlen < LARGEST_NEIGHBOURHOOD


def _find(ec2: Any, address: str) -> dict[str, Any] | None:
    if address.startswith("i-"):
        return _only(ec2, "instance-id", address)
    if _is_ip(address):
        return _by_ip(ec2, address)
    for name in ("dns-name", "private-dns-name"):
        if found := _only(ec2, name, address):
            return found
    own_name = _resolved(address)  # a name of their own that points to it
    return _by_ip(ec2, own_name) if own_name else None


def _by_ip(ec2: Any, address: str) -> dict[str, Any] | None:
    if ":" in address:
        return _only(ec2, "network-interface.ipv6-addresses.ipv6-address", address)
    return _only(ec2, "ip-address", address) or _only(ec2, "private-ip-address", address)


def _only(ec2: Any, name: str, value: str) -> dict[str, Any] | None:
    """The one it holds for. Two networks may use the same private address: then nobody knows which is meant."""
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[{"Name": name, "Values": [value]}])
    found = [entry for page in pages for reservation in page["Reservations"] for entry in reservation["Instances"]]
    return found[0] if len(found) == 1 else None


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _resolved(name: str) -> str:
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        return ""
