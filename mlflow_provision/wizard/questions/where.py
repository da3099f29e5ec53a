"""Where should the server run? Connects right away, and shows what is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_provision.config import local_scope
from mlflow_provision.config.rules.target import host_problem, identity_file_problem
from mlflow_provision.config.wording import shown
from mlflow_provision.errors import ProvisionError
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.card import card
from mlflow_provision.wizard.conversation import AskAgain, Conversation, Leave, Question, trouble
from mlflow_provision.wizard.questions.account import ask_region, profile_choices, region_problem

if TYPE_CHECKING:
    from mlflow_provision.aws.ec2 import Instance

LOCAL, EC2, TYPED = "local", "an EC2 instance", "another host"
MOST_ALIASES = 12


def choose_host(talk: Conversation) -> None:
    aliases = talk.world.ssh_hosts()
    choices = [Choice(alias, alias, "from ~/.ssh/config") for alias in aliases[:MOST_ALIASES]]
    choices += [
        Choice(EC2, "An EC2 instance", "looked up with an AWS profile"),
        Choice(TYPED, "Another host", "typed, as for ssh: user@host"),
        Choice(LOCAL, "This machine", _local_note()),
    ]
    answer = talk.ask.choose("Where should the server run?", choices, LOCAL, "TARGET")
    talk.answers.notes["where"] = answer
    talk.answers.notes.pop("instance", None)
    # What was looked at there says nothing of another host.
    talk.answers.done -= {one.id for one in talk.questions if one.silent or one.section == "where"}
    for key in ("host", "scope", "identity_file"):
        talk.answers.keys.pop(key, None)
    if answer == LOCAL:
        talk.answers.put(host=LOCAL, scope=local_scope())
    elif answer not in (EC2, TYPED):
        talk.answers.put(host=answer)


def type_host(talk: Conversation) -> None:
    talk.answers.put(host=talk.ask.text("Its address, as for ssh (user@host)", "", _address_problem, "TARGET"))


def choose_profile(talk: Conversation) -> None:
    profiles = talk.world.profiles()
    if not profiles:
        raise ProvisionError("there is no AWS profile in ~/.aws", "make one: aws configure")
    default = os.environ.get("AWS_PROFILE", "default")
    talk.answers.notes["aws_profile"] = talk.ask.choose(
        "Which AWS profile may look?",
        profile_choices(talk),
        default if default in profiles else profiles[0],
        "--aws-profile",
    )


def choose_instance(talk: Conversation) -> None:
    profile = talk.answers.notes["aws_profile"]
    while True:
        region = ask_region(talk, profile, "In which region?", region_problem)
        found = talk.world.instances(profile, region)
        talk.answers.notes["aws_region"] = region
        if found:
            break
        talk.say(f"There is no EC2 instance in {region}.", "bad")
    choices = [Choice(one.id, _titled(one), _described(one), one.why_not) for one in found]
    usable = [one for one in found if not one.why_not]
    if not usable:
        for one in found:
            talk.say(f"  {_titled(one)}: {one.why_not}")
        raise ProvisionError(f"no EC2 instance in {region} can be used now", "start one, or choose another place")
    wanted = talk.ask.choose("Which instance?", choices, usable[0].id, "TARGET")
    _take(talk, next(one for one in found if one.id == wanted))


def _take(talk: Conversation, instance: Instance) -> None:
    if instance.warning:
        talk.note(instance.warning)
    user = instance.user or talk.ask.text("Which user does ssh log in as?", "ubuntu", _user_problem, "TARGET")
    talk.answers.put(host=f"{user}@{instance.address}")
    talk.answers.notes["instance"] = instance.id
    if instance.identity:
        talk.answers.put(identity_file=instance.identity)
    elif instance.key_name:
        talk.note(f"its key pair is {instance.key_name}; no such key is in ~/.ssh, so the usual ones are tried")


def connect(talk: Conversation) -> None:
    """Reach the host, and show what is there. A host that cannot be reached can be chosen anew."""
    talk.looked_at = ()  # even if it was looked at before: this is the question whether it can be reached
    while True:
        try:
            facts = talk.look()
            break
        except ProvisionError as error:
            if not talk.patient:
                raise
            trouble(talk, error)
            _after_refusal(talk)
    talk.say()
    for line in card(talk.deployment, facts):
        talk.say(f"  {line}")


def _after_refusal(talk: Conversation) -> None:
    choices = [
        Choice("again", "Try again"),
        Choice("key", "Use another SSH key", "a file on this machine"),
        Choice("host", "Choose another host"),
        Choice("leave", "Stop here", "setup --resume goes on"),
    ]
    if talk.answers.host == LOCAL:
        choices = [choice for choice in choices if choice.value != "key"]
    answer = talk.ask.choose("What now?", choices, "again")
    if answer == "key":
        path = talk.ask.text("Path of the private key", talk.deployment.identity_file, _key_problem, "-i")
        talk.answers.put(identity_file=str(Path(path).expanduser().absolute()))
    elif answer == "host":
        talk.answers.done -= {question.id for question in QUESTIONS}
        raise AskAgain
    elif answer == "leave":
        raise Leave


def _local_note() -> str:
    return "as a system service" if local_scope() == "system" else "in ~/mlflow, without root"


def _titled(instance: Instance) -> str:
    return f"{instance.name or instance.id}"


def _described(instance: Instance) -> str:
    parts = [instance.id if instance.name else "", instance.state, instance.type, instance.address]
    return " ".join(filter(None, [*parts, f"key {instance.key_name}" if instance.key_name else ""]))


def _address_problem(text: str) -> str | None:
    from mlflow_provision.host.settings import read_settings

    if problem := host_problem(text):
        return problem
    try:
        read_settings(text)
    except ProvisionError as error:
        return error.message
    return None


def _key_problem(text: str) -> str | None:
    path = Path(text).expanduser().absolute()
    return identity_file_problem(str(path)) or (None if path.is_file() else f"there is no file {shown(str(path))}")


def _user_problem(text: str) -> str | None:
    return None if text.replace("-", "").replace("_", "").isalnum() else f"{shown(text)} is not a user"


QUESTIONS: tuple[Question, ...] = (
    Question("where.host", choose_host, sets=("host",)),
    Question("where.address", type_host, lambda talk: talk.answers.notes.get("where") == TYPED),
    Question("where.profile", choose_profile, lambda talk: talk.answers.notes.get("where") == EC2),
    Question("where.instance", choose_instance, lambda talk: talk.answers.notes.get("where") == EC2),
    Question("where.connect", connect, silent=True),
)
