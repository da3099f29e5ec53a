"""The database, and who may log in."""

from __future__ import annotations

from dataclasses import replace

from mlflow_provision.config import password_problem
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.conversation import Conversation, Question

GENERATED, TYPED = "generated", "typed"
DATABASE = (
    "Database: SQLite, one file with nothing to look after; enough for a team on one server (about 180 requests a "
    "second on two cores). PostgreSQL comes later."
)
PERMISSIONS = (
    Choice("READ", "READ", "see what others made, change only one's own"),
    Choice("EDIT", "EDIT", "also change what others made"),
    Choice("MANAGE", "MANAGE", "also delete it, and say who may do what"),
    Choice("USE", "USE", "between READ and EDIT: use what others made"),
    Choice("NO_PERMISSIONS", "NO_PERMISSIONS", "see nothing of others until it is granted"),
)


def type_username(talk: Conversation) -> None:
    talk.explain(DATABASE)
    talk.answers.put(
        auth__admin_username=talk.ask.text(
            "Name of the administrator",
            talk.deployment.auth.admin_username,
            lambda text: talk.problem(auth__admin_username=text),
            "--admin-username",
        )
    )


def choose_password(talk: Conversation) -> None:
    choices = [
        Choice(GENERATED, "Generated", "strong; kept in a file that only you can open"),
        Choice(TYPED, "Typed by me", "twice; at least 12 characters"),
    ]
    flag = "MLFLOW_PROVISION_ADMIN_PASSWORD"
    answer = talk.ask.choose("The administrator's password?", choices, GENERATED, flag)
    password = ""
    while answer == TYPED:
        password = talk.ask.secret("Password", password_problem, flag)
        if talk.ask.secret("The same again", flag=flag) == password:
            break
        talk.say("These were two different passwords.", "bad")
    talk.answers.secrets = replace(talk.answers.secrets, admin_password=password)
    talk.answers.notes["password"] = answer


def type_old_password(talk: Conversation) -> None:
    """Asked only by who changes this section: most old servers have it in their configuration."""
    talk.note("Left empty: the one in the configuration of the old server.")
    password = talk.ask.secret("The administrator's password on the old server", flag="MLFLOW_PROVISION_ADMIN_PASSWORD")
    talk.answers.secrets = replace(talk.answers.secrets, admin_password=password)


def choose_permission(talk: Conversation) -> None:
    talk.answers.put(
        auth__default_permission=talk.ask.choose(
            "What may users do with what others made?",
            PERMISSIONS,
            talk.deployment.auth.default_permission,
            "--default-permission",
        )
    )


def _password_unknown(talk: Conversation) -> bool:
    if talk.answers.adopt:  # it keeps the one it has
        return False
    return not talk.answers.secrets.admin_password and not talk.facts["admin_exists"]


QUESTIONS: tuple[Question, ...] = (
    Question("login.username", type_username, sets=("auth.admin_username",)),
    Question("login.password", choose_password, _password_unknown),
    Question("login.old_password", type_old_password, lambda talk: talk.answers.adopt),
    Question("login.permission", choose_permission, sets=("auth.default_permission",)),
)
