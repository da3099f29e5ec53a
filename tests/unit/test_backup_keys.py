"""Keys of encrypted backups: the same keys as age's own, and nothing that is no key."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from mlflow_provision import backup_keys
from mlflow_provision.backup_keys import from_passphrase, generate, identity_problem, kdf_for, recipient_of
from mlflow_provision.errors import ProvisionError

# Made by pyrage 1.4.0 (rage's Rust implementation of age).
IDENTITY = "AGE-SECRET-KEY-1M76RV7VUSXP3EMXVDJARPUA55EJCH4ZVM3EK5H8FRF44JKZT4E7QVJSY46"
RECIPIENT = "age12axn260e04f6xr6jnl62s5csszwpc3gl78rnzymy80ekjmwxs96seflu4l"
DERIVED = "AGE-SECRET-KEY-1FCGSVDRKWUUQ3NRW8APAWWR5APZXPW8JSVQADY732T02T0NA23JQ82VCQD"
PASSPHRASE = "correct horse battery staple"
QUICK = {"name": "scrypt", "salt": "00" * 16, "log_n": 4, "r": 8, "p": 1}


def test_a_recipient_is_that_of_age() -> None:
    assert recipient_of(IDENTITY) == RECIPIENT
    assert recipient_of(f" {IDENTITY.lower()}\n") == RECIPIENT
    assert backup_keys.recipient_problem(RECIPIENT) is None


def test_generated_keys_are_pairs_and_never_twice_the_same() -> None:
    identity, recipient = generate()
    assert identity.startswith("AGE-SECRET-KEY-1")
    assert recipient_of(identity) == recipient
    assert generate()[0] != identity


def test_a_passphrase_gives_the_same_key_everywhere_and_another_in_another_place() -> None:
    kdf = kdf_for("s3://bucket/backups", "server")
    assert kdf == kdf_for("s3://bucket/backups", "server")
    assert len({kdf_for(place, name)["salt"] for place in ("a", "b") for name in ("c", "d")}) == 4
    assert recipient_of(from_passphrase(PASSPHRASE, kdf)).startswith("age1")
    assert from_passphrase(PASSPHRASE, kdf) == DERIVED


def test_a_passphrase_typed_on_another_keyboard_is_the_same() -> None:
    assert from_passphrase("caf\u00e9 cr\u00e8me", QUICK) == from_passphrase("cafe\u0301 cre\u0300me", QUICK)
    assert from_passphrase("cafe creme", QUICK) != from_passphrase("café crème", QUICK)


def test_what_was_begun_in_the_background_is_the_same_and_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scrypt = hashlib.scrypt
    calls: list[bytes] = []

    def counted(password: bytes, **more: Any) -> bytes:
        calls.append(password)
        return scrypt(password, **more)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    for _ in range(2):
        backup_keys.begin("begun long before", QUICK)
    first = from_passphrase("begun long before", QUICK)
    assert first == from_passphrase("begun long before", QUICK)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "kdf", [{}, {**QUICK, "name": "md5"}, {**QUICK, "log_n": 40}, {**QUICK, "salt": 3}, {**QUICK, "r": "x"}]
)
def test_a_manifest_cannot_ask_for_anything(kdf: dict[str, object]) -> None:
    with pytest.raises(ProvisionError, match="it is not known how the passphrase"):
        from_passphrase(PASSPHRASE, kdf)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not an age identity"),
        (RECIPIENT, "is not an age identity"),
        (IDENTITY[:-1] + ("A" if IDENTITY[-1] != "A" else "C"), "typing error"),
        (IDENTITY[:-3], "typing error"),
        (IDENTITY[:20] + IDENTITY[20:].lower(), "mixes capitals"),
    ],
)
def test_what_is_no_identity_is_told_without_being_shown(text: str, told: str) -> None:
    assert told in (identity_problem(text) or "")
    with pytest.raises(ProvisionError) as error:
        recipient_of(text)
    assert not text or text not in str(error.value) + error.value.hint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (IDENTITY, "secret half"),
        ("ssh-ed25519 AAAA", "backup keygen"),
        ("alice", "begin with age1"),
        (RECIPIENT[:-1] + "p", "typing error"),
        (RECIPIENT + "q", "typing error"),
        (RECIPIENT.upper(), "begin with age1"),
    ],
)
def test_what_is_no_recipient(text: str, told: str) -> None:
    assert told in (backup_keys.recipient_problem(text) or "")
