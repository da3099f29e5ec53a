"""What is there already: a server of ours, one that a script made, or nothing."""

from __future__ import annotations

from typing import Any

from mlflow_provision.config import DEFAULT_MLFLOW_VERSION
from mlflow_provision.config.rules.target import name_problem
from mlflow_provision.errors import ProvisionError
from mlflow_provision.version import newer
from mlflow_provision.wizard.answers import DEFAULT_NAME
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.conversation import Conversation, Leave, Question, Upgrade
from mlflow_provision.wizard.questions.where import LOCAL

ADOPT, BESIDE, LEAVE, CHANGE, UPGRADE = "adopt", "beside", "leave", "change ", "upgrade "
SUGGESTIONS = (DEFAULT_NAME, "staging", "dev", "prod")


def choose_what(talk: Conversation) -> None:
    there = talk.facts["deployments"]
    choices = [_change(talk, one["name"], one["mlflow_version"], one["port"]) for one in there]
    choices += [_upgrade(one) for one in there if _known_here(talk, one["name"]) and _is_old(one)]
    old = talk.facts["old_server"]
    if old:
        note = "its runs, users and artifacts come along; the old one stays as it is, switched off"
        choices.append(Choice(ADOPT, f"Take over the server in {old['tree']}", note))
    choices.append(Choice(BESIDE, "Set up another one beside it", "with a name and a port of its own"))
    choices.append(Choice(LEAVE, "Leave everything as it is"))
    default = next(choice.value for choice in choices if not choice.why_not)
    answer = talk.ask.choose("There is a server already. What now?", choices, default, "TARGET, --name or --adopt")
    if answer == LEAVE:
        raise Leave
    if answer.startswith(UPGRADE):
        raise Upgrade(answer.removeprefix(UPGRADE))
    talk.answers.adopt = answer == ADOPT
    talk.answers.notes["existing"] = answer
    if answer == ADOPT:
        talk.answers.keys |= talk.world.old_settings(talk.facts)
        _count_as_answered(talk)
        if not talk.deployment.artifacts.credentials:  # its own way to the bucket cannot be ours
            talk.answers.done = {one for one in talk.answers.done if not one.startswith("credentials.")}
    elif answer.startswith(CHANGE):
        _start_from(talk, answer.removeprefix(CHANGE))


def choose_name(talk: Conversation) -> None:
    taken = _names(talk)
    free = next((name for name in SUGGESTIONS if name not in taken), "")
    talk.answers.put(
        name=talk.ask.text("What should it be called?", free, lambda name: _problem(name, taken), "--name")
    )


def settle(talk: Conversation) -> None:
    """From here on the name is known, and with it the secrets that are known here."""
    if "name" not in talk.answers.keys and not talk.answers.base:
        talk.answers.put(name=_usual(talk))
    known = talk.world.deployments().get(talk.deployment.name)
    if known and not talk.answers.base:
        if known.host != talk.answers.host:
            message = f"the name {known.name} belongs to a deployment on {known.host}"
            raise ProvisionError(message, "choose another one: --name NAME")
        talk.answers.base = known
    stored = talk.world.secrets(talk.deployment.name)
    if stored.admin_password or stored.aws_access_key_id:
        talk.answers.secrets = stored
    talk.look()


def _change(talk: Conversation, name: str, version: str, port: int) -> Choice:
    what = f"MLflow {version}, port {port}"
    if not _known_here(talk, name):
        return Choice(
            CHANGE + name, f"Change {name}", what, f"set up elsewhere: bring {name}.toml and {name}.secrets.toml here"
        )
    return Choice(CHANGE + name, f"Change {name}", what)


def _upgrade(one: dict[str, Any]) -> Choice:
    what = f"from MLflow {one['mlflow_version']} to {DEFAULT_MLFLOW_VERSION}; its runs, users and artifacts come along"
    return Choice(UPGRADE + one["name"], f"Upgrade {one['name']}", what)


def _is_old(one: dict[str, Any]) -> bool:
    return bool(one["mlflow_version"]) and newer(DEFAULT_MLFLOW_VERSION, one["mlflow_version"])


def _known_here(talk: Conversation, name: str) -> bool:
    known = talk.world.deployments().get(name)
    return known is not None and known.host == talk.answers.host


def _start_from(talk: Conversation, name: str) -> None:
    """All answers are those of the deployment; the summary changes them."""
    talk.answers.base = talk.world.deployments()[name]
    talk.answers.keys = {key: value for key, value in talk.answers.keys.items() if key not in ("host", "name", "scope")}
    talk.answers.keys["host"] = talk.answers.base.host
    _count_as_answered(talk)


def _count_as_answered(talk: Conversation) -> None:
    talk.answers.done |= {question.id for question in talk.questions} - {"existing.settle", "login.password"}


def _usual(talk: Conversation) -> str:
    return "local" if talk.answers.host == LOCAL else DEFAULT_NAME


def _names(talk: Conversation) -> set[str]:
    """Names that a new deployment cannot have."""
    return {*talk.world.deployments(), *(one["name"] for one in talk.facts["deployments"])}


def _problem(name: str, taken: set[str]) -> str | None:
    return name_problem(name) or (f"{name} is the name of another deployment" if name in taken else None)


def _anything_there(talk: Conversation) -> bool:
    return bool(talk.facts and (talk.facts["deployments"] or talk.facts["old_server"]))


def _needs_name(talk: Conversation) -> bool:
    if talk.answers.base or talk.answers.adopt or "name" in talk.answers.keys:
        return False
    return _usual(talk) in _names(talk) or (bool(talk.facts) and talk.facts["unit"] == "foreign")


QUESTIONS: tuple[Question, ...] = (
    Question("existing.what", choose_what, _anything_there, sets=("name",)),
    Question("existing.name", choose_name, _needs_name, sets=("name",)),
    Question("existing.settle", settle, silent=True),
)
