"""The security group before an EC2 instance, where our AWS credentials may see it. It is never needed."""

from __future__ import annotations

import ipaddress

from mlflow_provision.doctor.case import Case
from mlflow_provision.doctor.finding import BAD, OK, SKIPPED, WARN, Finding, found
from mlflow_provision.errors import ProvisionError
from mlflow_provision.tunnel.route import needs_tunnel


def exposed(case: Case) -> Finding:
    """What does it let in from everywhere?"""
    from mlflow_provision.aws.security_groups import exposure

    address = _address(case)
    if not address:
        return found("security-group", SKIPPED, "this is no public address of EC2")
    case.begin("security-group")
    deployment = case.deployment
    seen = exposure(deployment.artifacts.profile, _region(case, address), address, deployment.mlflow.port)
    if seen is None:
        return found("security-group", SKIPPED, "your AWS credentials do not show an instance with this address")
    if seen.open_to_world:
        rules = ", ".join(f"{one.group_id} ({one.group_name}) lets in {one.cidr}" for one in seen.openings)
        # Behind loopback nobody answers there; an open door to an empty room is still one.
        verdict = WARN if needs_tunnel(deployment) or not seen.has_public_address else BAD
        return found("security-group", verdict, f"port {seen.port} of {seen.instance_id}: {rules}")
    if seen.ssh_open_to_world:
        rules = ", ".join(f"{one.group_id} lets in {one.cidr}" for one in seen.ssh_openings)
        return found("security-group", OK, f"port {seen.port} is closed to the world; port 22 is not ({rules})")
    return found("security-group", OK, f"{seen.instance_id}: neither port {seen.port} nor port 22 is open to the world")


def shuts_out(case: Case) -> Finding:
    """The network is broken: does AWS know why? A stopped instance, or no rule for SSH."""
    from mlflow_provision.aws.security_groups import admission

    address = _address(case)
    if not address:
        return found("security-group", SKIPPED, "this is no public address of EC2")
    case.begin("security-group")
    port = _ssh_port(case)
    seen = admission(case.deployment.artifacts.profile, _region(case, address), address, port)
    if seen is None:
        return found("security-group", SKIPPED, "your AWS credentials do not show an instance with this address")
    if seen.state != "running":
        return found(
            "security-group",
            BAD,
            f"the instance {seen.instance_id} is {seen.state}",
            "An instance that is stopped answers nobody; started again, it gets another public address.",
            f"`aws ec2 start-instances --instance-ids {seen.instance_id}`, then write its new address into the "
            "deployment file",
        )
    if not seen.sources:
        return found(
            "security-group",
            BAD,
            f"no rule of {', '.join(seen.groups)} lets anybody in at port {port}",
            "A security group shuts out everything that it has no rule for.",
            f"let your address in: `aws ec2 authorize-security-group-ingress --group-id {seen.groups[0]} "
            f"--protocol tcp --port {port} --cidr YOUR_ADDRESS/32`",
        )
    return found(
        "security-group",
        WARN,
        f"{seen.instance_id} is running; {', '.join(seen.groups)} lets in at port {port}: {', '.join(seen.sources)}",
        "If your own address is not among these, nothing of yours reaches the host; it changes with the network you "
        "are in.",
        "Find out your address, and let it in: `aws ec2 authorize-security-group-ingress --help`",
    )


def _address(case: Case) -> str:
    """The name or public address by which EC2 may know the host; "" if it cannot."""
    from mlflow_provision.aws.security_groups import region_in
    from mlflow_provision.host.settings import read_settings

    if case.deployment.host == "local":
        return ""
    try:
        name = read_settings(case.deployment.host, case.deployment.identity_file).hostname
    except ProvisionError:
        return ""
    if region_in(name):
        return name
    try:
        return name if ipaddress.ip_address(name).is_global else ""
    except ValueError:
        return name if name.endswith(".amazonaws.com") else ""


def _region(case: Case, address: str) -> str:
    from mlflow_provision.aws.security_groups import region_in

    return region_in(address) or case.deployment.artifacts.region


def _ssh_port(case: Case) -> int:
    from mlflow_provision.host.settings import read_settings

    return read_settings(case.deployment.host, case.deployment.identity_file).port
