"""All questions, in the order in which they are asked."""

from __future__ import annotations

from mlflow_provision.wizard.conversation import Question
from mlflow_provision.wizard.questions import artifacts, backups, credentials, existing, login, network, where

QUESTIONS: tuple[Question, ...] = (
    *where.QUESTIONS,
    *existing.QUESTIONS,
    *artifacts.QUESTIONS,
    *credentials.QUESTIONS,
    *login.QUESTIONS,
    *network.QUESTIONS,
    *backups.QUESTIONS,
)
