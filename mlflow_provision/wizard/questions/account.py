"""What several sections ask of an AWS account: one of its profiles, one of its regions."""

from __future__ import annotations

from mlflow_provision.wizard.asking import Choice, Problem
from mlflow_provision.wizard.conversation import Conversation


def profile_choices(talk: Conversation) -> list[Choice]:
    """The profiles of this machine, each beside its region."""
    return [Choice(profile, profile, talk.world.region_of(profile)) for profile in talk.world.profiles()]


def ask_region(talk: Conversation, profile: str, question: str, problem: Problem) -> str:
    """The region answered before is the default, else that of the profile."""
    default = talk.answers.notes.get("aws_region") or talk.world.region_of(profile)
    return talk.ask.text(question, default, problem, "--region")


def region_problem(text: str) -> str | None:
    """Of a region of Amazon's."""
    from mlflow_provision.config.rules.artifacts import region_problem

    return region_problem(text, "")
