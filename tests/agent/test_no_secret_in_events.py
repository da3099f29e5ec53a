"""Not one byte of a secret in any event of a plan or an apply, whatever stands on the host."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mlflow_provision.agent.apply import apply, plan
from mlflow_provision.agent.protocol import AgentError, Event, encode
from mlflow_provision.agent.resources import Resource
from mlflow_provision.agent.resources.admin_user import AdminUser
from mlflow_provision.agent.resources.file import File
from mlflow_provision.agent.resources.generated_secrets import GeneratedSecrets
from tests.agent.test_admin_user import pbkdf2

KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
CREDENTIALS = "[default]\naws_access_key_id = AKIACANARY1\naws_secret_access_key = wJalrCANARY2/K7MDENG==\n"
PASSWORD = "correct horse CANARY3"
PROGRAM = "#!/bin/sh\ncat > /dev/null\necho hashing; echo 'MlflowException: password too short'\nexit {code}\n"


@pytest.fixture
def resources(tmp_path: Path) -> list[Resource]:
    admin = AdminUser(
        "admin", "admin", PASSWORD, str(tmp_path / "auth.db"), str(tmp_path / "release"), str(tmp_path / "auth.ini")
    )
    with closing(sqlite3.connect(admin.database)) as connection, connection:
        connection.execute("CREATE TABLE users (username TEXT, password_hash TEXT, is_admin INT)")
        connection.execute("INSERT INTO users VALUES ('admin', ?, 1)", (pbkdf2("of yesterday"),))
    python = tmp_path / "release" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PROGRAM.format(code=0))
    python.chmod(0o755)
    return [
        File("credentials", str(tmp_path / "credentials"), CREDENTIALS, 0o640, secret_keys=KEYS),
        File("server.env", str(tmp_path / "server.env"), "PORT=5000\n"),
        GeneratedSecrets("secrets.env", str(tmp_path / "secrets.env"), ("A_KEY", "B_KEY")),
        admin,
    ]


def said(resources: list[Resource]) -> str:
    """Everything that a plan and two applies tell, errors included."""
    events: list[Event] = []
    told = []
    for verb in ("plan", "apply", "apply"):
        try:
            plan(resources, events.append) if verb == "plan" else apply(resources, events.append, lambda: False)
        except AgentError as error:
            told.append(f"{error} {error.message} {error.hint} {error!r}")
    return "\n".join([*map(encode, events), *told, repr(resources)])


def _nothing(folder: Path) -> None:
    pass


def _other_secrets(folder: Path) -> None:
    (folder / "credentials").write_text(CREDENTIALS.replace("CANARY", "OLDCANARY"))


def _another_order(folder: Path) -> None:
    lines = CREDENTIALS.splitlines(True)
    (folder / "credentials").write_text("".join([lines[2], lines[1], lines[0]]))


def _swapped(folder: Path) -> None:
    (folder / "credentials").write_text(
        "[default]\naws_access_key_id = wJalrCANARY2/K7MDENG==\naws_secret_access_key = AKIACANARY1\n"
    )


def _by_hand(folder: Path) -> None:
    more = "[other]\nAWS_SECRET_ACCESS_KEY=CANARY4\n# CANARY5\nCANARY6=\nYWNhbmFyeUCANARY7==\npassword : CANARY8\n"
    (folder / "credentials").write_text(more + CREDENTIALS + more)
    (folder / "server.env").write_text(
        "PORT=5000\nexport AWS_SECRET_ACCESS_KEY=CANARY9\nDB=postgresql://u:CANARY@h/d\n"
    )


def _half_a_file(folder: Path) -> None:
    (folder / "credentials").write_text(CREDENTIALS[: CREDENTIALS.index("CANARY2") + 5])
    (folder / "secrets.env").write_text("A_KEY=" + "CANARY" * 10 + "\nB_KEY=CANA")


def _folder_in_the_way(folder: Path) -> None:
    (folder / "credentials").mkdir()


def _failing_mlflow(folder: Path) -> None:
    (folder / "release" / "bin" / "python").write_text(PROGRAM.format(code=1))


@pytest.mark.parametrize(
    "prepare",
    [
        _nothing,
        _other_secrets,
        _another_order,
        _swapped,
        _by_hand,
        _half_a_file,
        _folder_in_the_way,
        _failing_mlflow,
    ],
)
def test_no_canary_sings(resources: list[Resource], tmp_path: Path, prepare: Callable[[Path], None]) -> None:
    prepare(tmp_path)
    told = said(resources)
    assert "CANA" not in told
    assert "K7MDENG" not in told
    if (tmp_path / "secrets.env").exists():
        for line in (tmp_path / "secrets.env").read_text().splitlines():
            assert line.partition("=")[2] not in told


def test_the_password_is_in_no_command_line(resources: list[Resource], tmp_path: Path) -> None:
    argv = shlex.quote(str(tmp_path / "argv"))
    (tmp_path / "release" / "bin" / "python").write_text(
        f'#!/bin/sh\necho "$@" > {argv}; env >> {argv}; cat > /dev/null\n'
    )
    said(resources)
    assert "import mlflow" in (tmp_path / "argv").read_text()
    assert "CANARY" not in (tmp_path / "argv").read_text()
