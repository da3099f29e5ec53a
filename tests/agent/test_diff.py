"""A diff shows what changes, and never a secret: neither ours nor one that a person put into the file."""

from __future__ import annotations

import pytest

from mlflow_provision.agent.diff import unified

KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
NEW = "[default]\naws_access_key_id = CANARY1\naws_secret_access_key = CANARY2\nregion = eu-west-1\n"


def changes(diff: str) -> list[str]:
    return [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_a_new_file_is_all_plus() -> None:
    assert unified("/etc/x", None, "a\nb\n").splitlines() == [
        "--- /dev/null",
        "+++ /etc/x",
        "@@ -0,0 +1,2 @@",
        "+a",
        "+b",
    ]


def test_the_same_text_is_no_diff() -> None:
    assert unified("/etc/x", "a\nb\n", "a\nb\n") == ""
    assert unified("/etc/x", NEW, NEW, KEYS) == ""


def test_a_very_long_diff_is_cut_and_says_so() -> None:
    lines = unified("/etc/x", None, "".join(f"{number}\n" for number in range(1000))).splitlines()
    assert len(lines) == 401
    assert lines[-1] == "… 603 more lines"


def test_a_new_secret_is_hidden_and_its_key_is_shown() -> None:
    assert changes(unified("/x", None, NEW, KEYS)) == [
        "+[default]",
        "+aws_access_key_id = <secret>",
        "+aws_secret_access_key = <secret>",
        "+region = eu-west-1",
    ]


def test_a_changed_secret_is_seen_to_change() -> None:
    assert changes(unified("/x", NEW.replace("CANARY2", "CANARY3"), NEW, KEYS)) == [
        "-aws_secret_access_key = <another secret>",
        "+aws_secret_access_key = <secret>",
    ]


def test_an_unchanged_secret_is_no_change() -> None:
    assert changes(unified("/x", NEW.replace("eu-west-1", "us-east-1"), NEW, KEYS)) == [
        "-region = us-east-1",
        "+region = eu-west-1",
    ]


# What may stand in a file of secrets that a person had their hands on.
BY_HAND = [
    NEW.replace("\n", "\r\n"),
    NEW + "aws_session_token = CANARY3\n",
    NEW + "aws_secret_access_key=CANARY3\n",
    NEW + "AWS_SECRET_ACCESS_KEY = CANARY3\n",
    NEW + "  aws_secret_access_key   =CANARY3\n",
    NEW + "export aws_secret_access_key=CANARY3\n",
    NEW + "# aws_secret_access_key = CANARY3\n",
    NEW + "aws_secret_access_key: CANARY3\n",
    NEW + "aws_secret_access_key =\n    CANARY3\n",
    NEW + "CANARY3\n",
    NEW + "CANARY3=\n",  # base64 ends like a key without a value
    NEW + "CANARY3==\n",
    NEW + "password = CANARY3\n",
    NEW + "[CANARY3]\n",
    "aws_secret_access_key = CANARY3\naws_access_key_id = CANARY4\n[default]\n",
    "aws_access_key_id = CANARY2\naws_secret_access_key = CANARY1\n",
    "CANARY3",
    "\x00CANARY3\x0cCANARY4\x1cCANARY5\u2028CANARY6",
]


@pytest.mark.parametrize("old", BY_HAND)
def test_no_secret_in_a_file_of_secrets_is_shown(old: str) -> None:
    diff = unified("/x", old, NEW, KEYS)
    assert "CANARY" not in diff
    assert "aws_secret_access_key" in diff or "not shown" in diff or old == BY_HAND[0]


def test_what_we_write_ourselves_is_hidden_by_its_key() -> None:
    shown = unified("/x", "", "aws_secret_access_key = CANARY1\naws_session_token=CANARY2\n", KEYS)
    assert changes(shown) == ["+aws_secret_access_key = <secret>", "+aws_session_token=<secret>"]


@pytest.mark.parametrize(
    "line",
    [
        "AWS_SECRET_ACCESS_KEY=CANARY",
        "export AWS_SESSION_TOKEN='CANARY'",
        'Environment="AWS_SECRET_ACCESS_KEY=CANARY"',
        "MLFLOW_TRACKING_PASSWORD = CANARY",
        "admin_password: CANARY",
        "MLFLOW_BACKEND_STORE_URI=postgresql://mlflow:CANARY@db.example/mlflow",
    ],
)
def test_a_secret_put_by_hand_into_a_file_without_secrets_is_not_shown(line: str) -> None:
    diff = unified("/x", f"PORT=5000\n{line}\nHOST=me\n", "PORT=5000\nHOST=me\n")
    assert "CANARY" not in diff
    assert len(changes(diff)) == 1


def test_other_hand_edits_are_shown() -> None:
    old = "MLFLOW_PORT=6000\nAWS_SHARED_CREDENTIALS_FILE=/old/credentials\n. /old/etc/secrets.env\n"
    assert [line[1:] for line in changes(unified("/x", old, "new\n"))] == [*old.splitlines(), "new"]


def test_a_line_that_stays_is_no_change_whatever_it_looks_like() -> None:
    ours = "# the password: never here"
    assert changes(unified("/x", f"{ours}\nold\n", f"{ours}\nnew\n")) == ["-old", "+new"]


JSON = """{
 "settings": {
  "place": {
   "access_key_id": "CANARY1",
   "destination": "s3://bucket/backups",
   "secret_access_key": "CANARY2"
  }
 },
 "verify": "weekly"
}
"""
JSON_KEYS = ("access_key_id", "secret_access_key")


def test_secrets_in_json_are_hidden_too() -> None:
    assert "CANARY" not in unified("/x", None, JSON, JSON_KEYS)
    assert changes(unified("/x", JSON.replace("CANARY2", "CANARY3"), JSON, JSON_KEYS)) == [
        '-   "secret_access_key": <another secret>',
        '+   "secret_access_key": <secret>',
    ]
    assert changes(unified("/x", JSON.replace("weekly", "daily"), JSON, JSON_KEYS)) == [
        '- "verify": "daily"',
        '+ "verify": "weekly"',
    ]


def test_secrets_in_other_json_than_ours_are_hidden() -> None:
    old = '{"access_key_id": "CANARY1",\n "token": "CANARY2", "secret_access_key": "CANARY3"}\nCANARY4\n'
    old += ' "verify": "daily", "secret_access_key": "CANARY5"\n'
    assert "CANARY" not in unified("/x", old, JSON, JSON_KEYS)
