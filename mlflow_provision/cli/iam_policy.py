"""`iam-policy`: what a server must be allowed at AWS, and the role that is allowed it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from mlflow_provision.cli.command import again, reports, shown
from mlflow_provision.cli.deployments import chosen, named
from mlflow_provision.cli.planned import asked
from mlflow_provision.errors import ExitCode, ProvisionError

if TYPE_CHECKING:
    from mlflow_provision.console import Console


@click.command("iam-policy")
@named
@click.option("--artifacts", metavar="PLACE", help="s3://bucket/prefix, for a server that is not there yet.")
@click.option("--backups", metavar="PLACE", help="s3://bucket/prefix of its backups.")
@click.option("--append-only", is_flag=True, help="Backups can be added and read, and not be deleted.")
@click.option("--trust", is_flag=True, help="Print who may take the role instead: EC2 instances.")
@click.option("--role", metavar="ROLE", help="Create or update this role, with exactly this policy.")
@click.option("--instance", metavar="ID", help="Attach the role to this EC2 instance.")
@click.option("--aws-profile", metavar="PROFILE", default="", help="Whose rights to use for that.")
@click.option("--region", metavar="REGION", default="", help="Region of the instance.  [default: the bucket's]")
@click.option("--yes", "-y", is_flag=True, help="Create without asking.")
@reports
def iam_policy_command(
    console: Console,
    name: str | None,
    artifacts: str | None,
    backups: str | None,
    append_only: bool,
    trust: bool,
    role: str | None,
    instance: str | None,
    aws_profile: str,
    region: str,
    yes: bool,
) -> ExitCode | None:
    """Print the IAM policy of a server: the least it needs, for exactly its bucket and prefix.

    \b
    mlflow-provision iam-policy NAME > policy.json
    mlflow-provision iam-policy NAME --role mlflow --instance i-0123456789abcdef0

    AWS is asked, and anything changed there, only with --role.
    """
    from mlflow_provision.aws.policy import trust_policy

    if instance and not role:
        raise ProvisionError("--instance: which role should it get?", f"{again()} --role ROLE", ExitCode.USAGE)
    if trust and role:
        raise ProvisionError("--trust only prints, and --role creates", "keep one of them", ExitCode.USAGE)
    policy, used_region = _policy(console, name, artifacts, backups or "", region, append_only)
    trusted = trust_policy(used_region)
    console.document.details.update(policy=policy, trust_policy=trusted, done=[])
    console.show(json.dumps(trusted if trust else policy, indent=2))
    if not role:
        _advise(console.document.deployment)
        return None
    if not _agreed(console, role, instance, yes):
        console.say("Nothing was changed.")
        return ExitCode.FAILED
    _create(console, policy, role, instance, aws_profile, region, used_region)
    return None


def _policy(
    console: Console, name: str | None, artifacts: str | None, backups: str, region: str, append_only: bool
) -> tuple[dict[str, Any], str]:
    """The policy, and the region it is for; "" where that makes no difference."""
    from mlflow_provision.aws.policy import policy
    from mlflow_provision.aws.wanted import policy_of

    if artifacts is not None:
        if name:
            raise ProvisionError("NAME and --artifacts both say which bucket", "give one of them", ExitCode.USAGE)
        return policy(artifacts, backups, region, append_only), region
    deployment, _ = chosen(name)
    console.document.deployment = deployment.name
    return policy_of(deployment, backups, region, append_only), region or deployment.artifacts.region


def _agreed(console: Console, role: str, instance: str | None, yes: bool) -> bool:
    if yes:
        return True
    if not console.asks:
        raise ProvisionError(
            "there is no terminal to ask whether to create the role",
            f"create it without a question: {again()} --yes",
            ExitCode.USAGE,
        )
    attach = f", and attach it to {instance}" if instance else ""
    question = f"Create or update the role {role} with this policy{attach}?"
    return asked(console, lambda: click.confirm(question, default=False, err=True))


def _create(
    console: Console,
    policy: dict[str, Any],
    role: str,
    instance: str | None,
    profile: str,
    region: str,
    used_region: str,
) -> None:
    from mlflow_provision.aws.roles import attach_role, create_role

    done: list[str] = console.document.details["done"]
    with console.busy(f"Creating the role {role}"):
        done += create_role(profile, role, policy, used_region)
    for line in done:
        console.say(line)
    if instance:
        with console.busy(f"Attaching the role to {instance}"):
            attached = attach_role(profile, region or used_region, instance, role)
        done += attached
        for line in attached:
            console.say(line)
    console.say("Use it with setup --instance-role.", "good")


def _advise(deployment: str | None) -> None:
    """What to do with it by hand. Not on stdout: that is the policy, and may go into a file."""
    options = click.get_current_context().params
    if options["quiet"] or options["as_json"]:
        return
    role = f"mlflow-{deployment or 'server'}"
    words = [word for word in (deployment,) if word]
    for option in ("artifacts", "backups"):
        words += [f"--{option}", options[option]] if options[option] else []
    words += ["--append-only"] if options["append_only"] else []
    lines = (
        "To make a role of it: " + shown("iam-policy", *words, "--role", role),
        "By hand, with the AWS command line:",
        "  " + shown("iam-policy", *words) + " > policy.json",
        "  " + shown("iam-policy", *words, "--trust") + " > trust.json",
        f"  aws iam create-role --role-name {role} --assume-role-policy-document file://trust.json",
        f"  aws iam put-role-policy --role-name {role} --policy-name mlflow-provision "
        "--policy-document file://policy.json",
        f"  aws iam create-instance-profile --instance-profile-name {role}",
        f"  aws iam add-role-to-instance-profile --instance-profile-name {role} --role-name {role}",
        f"  aws ec2 associate-iam-instance-profile --iam-instance-profile Name={role} --instance-id INSTANCE",
    )
    click.echo("\n".join(lines), err=True)
