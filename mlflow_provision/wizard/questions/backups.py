"""Where backups are to go. Only noted: this version makes none, and says so."""

from __future__ import annotations

from dataclasses import replace

from mlflow_provision.config.rules.backup import SCHEDULES
from mlflow_provision.config.wording import shown
from mlflow_provision.wizard.asking import Choice
from mlflow_provision.wizard.conversation import Conversation, Question

NOT_NOW, S3, FOLDER = "not now", "s3", "folder"
NOTE = "These settings are noted in the deployment file. This version does not make backups yet."


def choose_place(talk: Conversation) -> None:
    talk.explain(NOTE)
    on_s3 = talk.deployment.artifacts.destination.startswith("s3://")
    choices = [
        Choice(NOT_NOW, "Not now"),
        Choice(S3, "In a bucket", "beside the artifacts", "" if on_s3 else "the server has no credentials for one"),
        Choice(FOLDER, "In a folder on the host", "does not survive the loss of the host"),
    ]
    answer = talk.ask.choose("Where should backups go, once they are made?", choices, NOT_NOW, "--backups")
    talk.answers.drop("backup")
    talk.answers.done -= {"backups.destination", "backups.schedule", "backups.keep"}
    talk.answers.notes["backups"] = answer


def type_destination(talk: Conversation) -> None:
    default = "/var/backups/mlflow"
    if talk.answers.notes["backups"] == S3:
        default = f"{talk.deployment.artifacts.destination}-backups"
        if default.count("/") < 3:  # the whole bucket holds artifacts
            default = ""
    place = talk.ask.text("Which place?", default, lambda text: _place_problem(talk, text), "--backups")
    if place.startswith("s3://"):
        there = replace(talk.deployment.artifacts, destination=place)
        talk.world.try_store(replace(talk.deployment, artifacts=there), talk.answers.secrets)
        talk.say(f"  The host can put, get, list and delete in {place}.", "good")
    talk.answers.put(backup__destination=place)


def choose_schedule(talk: Conversation) -> None:
    choices = [Choice(schedule, schedule) for schedule in SCHEDULES]
    talk.answers.put(backup__schedule=talk.ask.choose("How often?", choices, "daily", "--backup-schedule"))


def type_keep(talk: Conversation) -> None:
    daily = talk.ask.text("How many daily ones are kept?", "7", lambda text: _count_problem(text), "--keep-daily")
    weekly = talk.ask.text(
        "How many weekly ones?",
        "4",
        lambda text: _count_problem(text) or talk.problem(backup__keep_daily=int(daily), backup__keep_weekly=int(text)),
        "--keep-weekly",
    )
    talk.answers.put(backup__keep_daily=int(daily), backup__keep_weekly=int(weekly))


def _place_problem(talk: Conversation, text: str) -> str | None:
    if not text:
        return "give s3://bucket/prefix, or a folder"
    if text.startswith("s3://") and talk.answers.notes["backups"] == FOLDER:
        return f"{shown(text)} is a bucket: go back and choose that"
    return talk.problem(backup__destination=text)


def _count_problem(text: str) -> str | None:
    return None if text.isdecimal() and int(text) <= 1000 else f"{shown(text)} is not a number from 0 to 1000"


def _wanted(talk: Conversation) -> bool:
    return talk.answers.notes.get("backups", NOT_NOW) != NOT_NOW


QUESTIONS: tuple[Question, ...] = (
    Question("backups.place", choose_place, sets=("backup.destination",)),
    Question("backups.destination", type_destination, _wanted),
    Question("backups.schedule", choose_schedule, _wanted, ("backup.schedule",)),
    Question("backups.keep", type_keep, _wanted, ("backup.keep_daily",)),
)
