"""docs/troubleshooting.md is what doctor knows, and doctor knows what its host's side looks at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlflow_provision.agent.doctor import CHECKS
from mlflow_provision.cli.group import COMMANDS
from mlflow_provision.doctor.catalog import APPLY, CATALOG, GROUPS, MEND, MESSAGES, REINSTALL, START, Entry
from mlflow_provision.doctor.page import page
from mlflow_provision.host.hops import HOPS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
OF_THIS_SIDE = {
    *HOPS,
    *("forwarding", "tunnel", "reach", "security-group", "drift", "weak-password", "credentials-here"),
    "clock-operator",
}
# Beginnings of what people found on this page when it was written by hand.
ALWAYS_THERE = (
    "the host key … is not known",
    "the host key … has CHANGED",
    "permission denied (publickey)",
    "sudo wants a password, and there is no terminal",
    "the package index cannot be reached",
    "MLflow … is only half published",
    "s3:PutObject (or another one) is missing",
    "InvalidAccessKeyId, SignatureDoesNotMatch",
    "the server started and died",
    "… is running `setup server` on this host",
    "port 5000 is used by …",
    "403 “Invalid Host header” in the browser",
    "403 “Cross-origin request blocked”",
    "401 from a script",
    "`port 5000 on this machine is used by another program`",
    "S3 cannot be reached through a company proxy",
    "an upload ends with 500",
    "a backup says “no space left”",
    "… is making a backup since …",
    "a backup is DAMAGED",
    "the key does not open it",
    "s3:DeleteObject is denied while pruning",
    "`status` says that the last backup failed",
    "the alarm of the ping URL",
    "a restore was interrupted",
    "a restore refuses a backup of a newer MLflow",
)


def test_the_page_is_made_of_the_catalog() -> None:
    assert PAGE.read_text() == page(), "python -m mlflow_provision.doctor.page > docs/troubleshooting.md"


@pytest.mark.parametrize("symptom", ALWAYS_THERE)
def test_what_people_look_for_is_still_there(symptom: str) -> None:
    (row,) = [line for line in page().splitlines() if line.startswith(f"| {symptom}")]
    assert all(len(cell.strip()) > 5 for cell in row.split("|")[1:4])


def test_every_check_has_an_entry_and_every_entry_is_checked() -> None:
    assert set(CATALOG) == OF_THIS_SIDE | set(CHECKS)


@pytest.mark.parametrize("entry", CATALOG.values(), ids=lambda entry: entry.id)
def test_an_entry_says_what_is_wrong_why_and_what_to_do(entry: Entry) -> None:
    assert entry.group in GROUPS and entry.fix in ("", APPLY, START, REINSTALL, MEND)
    assert entry.title != entry.wrong and not (entry.title + entry.wrong).endswith(".")
    for row in entry.rows:
        assert row.why.endswith(".") and len(row.remedy) > 10
        assert "\n" not in row.symptom + row.why + row.remedy
        assert (row.symptom + row.why + row.remedy).count("`") % 2 == 0


def test_what_the_catalog_tells_people_to_type_exists() -> None:
    texts = [row.remedy for entry in CATALOG.values() for row in entry.rows]
    texts += [row.remedy for rows in MESSAGES.values() for row in rows]
    for words in re.findall(r"mlflow-provision ([a-z-]+)", " ".join(texts)):
        assert words in COMMANDS, words
