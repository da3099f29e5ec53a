"""Where backups go, how often they are made, how many are kept, and whether anybody who finds one can read it."""

from __future__ import annotations

from dataclasses import replace

from mlflow_provision.config import generate_password
from mlflow_provision.config.deployment import OFF, OPERATOR
from mlflow_provision.config.rules.backup import MOST_KEPT, SCHEDULES
from mlflow_provision.config.rules.backup_secrets import passphrase_problem
from mlflow_provision.config.wording import shown
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.conversation import Conversation, Question

NOT_NOW, S3, FOLDER, HERE = "not now", "s3", "folder", "operator"
PLAIN, GENERATED, TYPED = "no", "generated", "typed"
NOTE = (
    "A backup has what cannot be made again: runs, users and their permissions, secrets, settings, and artifacts that "
    "are in a folder of the host. The server goes on working meanwhile."
)
LOSS = "Without the passphrase nobody opens an encrypted backup: keep it somewhere else too, in a password manager."
_FLAG = "MLFLOW_PROVISION_BACKUP_PASSPHRASE"


def choose_place(talk: Conversation) -> None:
    talk.explain(NOTE)
    on_s3 = talk.deployment.artifacts.destination.startswith("s3://")
    choices = [
        Choice(NOT_NOW, "Not now"),
        Choice(S3, "In a bucket", "beside the artifacts", "" if on_s3 else "the server has no credentials for one"),
        Choice(FOLDER, "In a folder on the host", "does not survive the loss of the host"),
    ]
    if talk.answers.host != "local":
        choices.append(Choice(HERE, "In a folder on this machine", "made when you ask for one, by no schedule"))
    answer = talk.ask.choose("Where should backups go?", choices, NOT_NOW, "--backups")
    talk.answers.drop("backup")
    talk.answers.done -= {question.id for question in QUESTIONS}
    talk.answers.notes["backups"] = answer


def type_destination(talk: Conversation) -> None:
    default = {FOLDER: "/var/backups/mlflow", HERE: "~/mlflow-backups"}.get(talk.answers.notes["backups"], "")
    if talk.answers.notes["backups"] == S3:
        default = f"{talk.deployment.artifacts.destination}-backups"
        if default.count("/") < 3:  # the whole bucket holds artifacts
            default = ""
    text = talk.ask.text("Which place?", default, lambda text: _place_problem(talk, text), "--backups")
    place = _place(talk, text)
    if place.startswith("s3://"):
        there = replace(talk.deployment.artifacts, destination=place)
        talk.world.try_store(replace(talk.deployment, artifacts=there), talk.answers.secrets)
        talk.say(f"  The host can put, get, list and delete in {place}.", "good")
    talk.answers.put(backup__destination=place)
    if place.startswith(OPERATOR):
        talk.answers.put(backup__schedule=OFF)


def choose_schedule(talk: Conversation) -> None:
    titles = {OFF: "never by itself"}
    choices = [Choice(schedule, titles.get(schedule, schedule)) for schedule in SCHEDULES]
    talk.answers.put(backup__schedule=talk.ask.choose("How often?", choices, "daily", "--backup-schedule"))


def type_keep(talk: Conversation) -> None:
    backup = talk.deployment.backup
    talk.note(f"The newest {backup.keep_last} are always kept.")
    daily = talk.ask.text(
        "Of how many days is one kept?", str(backup.keep_daily), lambda text: _count_problem(text), "--keep-daily"
    )
    weekly = talk.ask.text(
        "Of how many weeks?", str(backup.keep_weekly), lambda text: _count_problem(text), "--keep-weekly"
    )
    talk.answers.put(backup__keep_daily=int(daily), backup__keep_weekly=int(weekly))


def choose_encryption(talk: Conversation) -> None:
    talk.note("They hold password hashes and the secrets of the server. " + LOSS)
    choices = [
        Choice(PLAIN, "Not encrypted", "whoever can read the place can read them"),
        Choice(GENERATED, "Encrypted, with a generated passphrase", "kept in a file that only you can open"),
        Choice(TYPED, "Encrypted, with a passphrase typed by me", "twice; at least 12 characters"),
    ]
    answer = talk.ask.choose("Are backups encrypted?", choices, PLAIN, "--backup-encryption")
    talk.answers.notes["backup_passphrase"] = answer
    talk.answers.put(backup__encryption="" if answer == PLAIN else "passphrase")


def settle_passphrase(talk: Conversation) -> None:
    """Asked where none is known: one that is known opens the backups that there are."""
    passphrase = generate_password()
    while talk.answers.notes.get("backup_passphrase") == TYPED:
        passphrase = talk.ask.secret("Passphrase of the backups", passphrase_problem, _FLAG)
        if talk.ask.secret("The same again", flag=_FLAG) == passphrase:
            break
        talk.say("These were two different passphrases.", "bad")
    talk.answers.secrets = replace(talk.answers.secrets, backup_passphrase=passphrase)


def _place(talk: Conversation, text: str) -> str:
    here = talk.answers.notes["backups"] == HERE and not text.startswith(OPERATOR)
    return OPERATOR + text if here else text


def _place_problem(talk: Conversation, text: str) -> str | None:
    if not text:
        return "give s3://bucket/prefix, or a folder"
    if text.startswith("s3://") and talk.answers.notes["backups"] != S3:
        return f"{shown(text)} is a bucket: go back and choose that"
    return talk.problem(backup__destination=_place(talk, text))


def _count_problem(text: str) -> str | None:
    usable = text.isdecimal() and int(text) <= MOST_KEPT
    return None if usable else f"{shown(text)} is not a number from 0 to {MOST_KEPT}"


def _wanted(talk: Conversation) -> bool:
    return talk.answers.notes.get("backups", NOT_NOW) != NOT_NOW


def _schedulable(talk: Conversation) -> bool:
    return _wanted(talk) and not talk.deployment.backup.with_operator


def _without_passphrase(talk: Conversation) -> bool:
    return talk.deployment.backup.encryption == "passphrase" and not talk.answers.secrets.backup_passphrase


QUESTIONS: tuple[Question, ...] = (
    Question("backups.place", choose_place, sets=("backup.destination",)),
    Question("backups.destination", type_destination, _wanted),
    Question("backups.schedule", choose_schedule, _schedulable, ("backup.schedule",)),
    Question("backups.keep", type_keep, _wanted, ("backup.keep_daily",)),
    Question("backups.encryption", choose_encryption, _wanted, ("backup.encryption",)),
    Question("backups.passphrase", settle_passphrase, _without_passphrase, silent=True),
)
