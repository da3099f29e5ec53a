"""Secrets that only the host knows: made once, never changed, never shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.generated_secrets import GeneratedSecrets
from tests.agent.converge import found, mend

NAMES = ("MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_CRYPTO_KEK_PASSPHRASE")


@pytest.fixture
def secrets(tmp_path: Path) -> GeneratedSecrets:
    return GeneratedSecrets("secrets.env", str(tmp_path / "secrets.env"), NAMES, 0o640)


def values(secrets: GeneratedSecrets) -> dict[str, str]:
    lines = Path(secrets.path).read_text().splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def test_missing_secrets_are_generated(secrets: GeneratedSecrets) -> None:
    assert mend(secrets) == "generate " + ", ".join(NAMES)
    made = values(secrets)
    assert tuple(made) == NAMES
    assert len(set(made.values())) == 2
    for value in made.values():
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", value)  # 256 bits, and nothing that a shell would read otherwise
    assert Path(secrets.path).stat().st_mode & 0o777 == 0o640


def test_two_hosts_have_other_secrets(secrets: GeneratedSecrets, tmp_path: Path) -> None:
    other = GeneratedSecrets("secrets.env", str(tmp_path / "other"), NAMES)
    mend(secrets)
    mend(other)
    assert not set(values(secrets).values()) & set(values(other).values())


def test_a_change_says_no_secret(secrets: GeneratedSecrets) -> None:
    secrets.apply(Context())
    Path(secrets.path).chmod(0o666)
    change = secrets.check(Context())
    assert change is not None
    assert (change.summary, change.diff) == ("mode 0666 → 0640", "")


def test_what_is_there_is_never_changed(secrets: GeneratedSecrets) -> None:
    mend(secrets)
    before = values(secrets)
    Path(secrets.path).chmod(0o600)
    mend(secrets)
    secrets.apply(Context())
    assert values(secrets) == before


def test_a_further_secret_is_added_to_those_that_are_there(secrets: GeneratedSecrets) -> None:
    mend(GeneratedSecrets("secrets.env", secrets.path, NAMES[:1], 0o640))
    before = values(secrets)
    assert mend(secrets) == f"generate {NAMES[1]}"
    assert values(secrets)[NAMES[0]] == before[NAMES[0]]


def test_a_secret_we_no_longer_ask_for_is_kept(secrets: GeneratedSecrets) -> None:
    mend(secrets)
    before = values(secrets)
    further = GeneratedSecrets("secrets.env", secrets.path, ("ANOTHER_KEY",), 0o640)
    mend(further)
    assert {name: values(secrets)[name] for name in NAMES} == before


@pytest.mark.parametrize("kept", [0, 20, 60, 90, 120])
def test_a_file_cut_short_is_completed_and_whole_secrets_in_it_are_kept(secrets: GeneratedSecrets, kept: int) -> None:
    mend(secrets)
    before, text = values(secrets), Path(secrets.path).read_text()
    Path(secrets.path).write_text(text[:kept])
    mend(secrets)
    after = values(secrets)
    assert tuple(sorted(after)) == tuple(sorted(NAMES))
    for number, name in enumerate(NAMES):
        whole = kept > sum(map(len, text.splitlines(True)[: number + 1]))
        assert not whole or after[name] == before[name]
        assert len(after[name]) >= 32
    assert found(secrets) == ""


@pytest.mark.parametrize("value", ["short", "'quoted, with spaces'", "$%&/()=", "x" * 400, "0"])
def test_one_that_a_person_chose_is_never_changed(secrets: GeneratedSecrets, value: str) -> None:
    """As the passphrase of a server that moved here: without it its gateway keys are lost."""
    Path(secrets.path).write_text(f"{NAMES[1]}={value}\nKEY_2=kept\n")
    assert mend(secrets) == f"generate {NAMES[0]}"
    assert values(secrets)[NAMES[1]] == value
    assert values(secrets)["KEY_2"] == "kept"


def test_an_empty_one_is_a_missing_one(secrets: GeneratedSecrets) -> None:
    Path(secrets.path).write_text("".join(f"{name}=\n" for name in NAMES))
    assert mend(secrets) == "generate " + ", ".join(NAMES)
