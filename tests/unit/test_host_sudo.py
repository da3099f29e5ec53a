"""Becoming root: with and without a password, and every way in which sudo can say no."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import NOBODY, Ask, LocalHost, answer
from tests.unit.fake_sudo import PASSWORD, FakeSudo

FAKE_AGENT = Path(__file__).parent / "fake_agent"


@pytest.fixture(params=["classic", "rs"])
def sudo(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSudo:
    fake = FakeSudo(tmp_path).install(request.param)
    monkeypatch.setenv("PATH", fake.search_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("LOGNAME", "lab")
    return fake


class Person:
    """Answers with one password after the other."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str | None:
        self.asked.append(prompt)
        return self.answers.pop(0)


def host(password: Callable[[str], str | None] | None = None) -> LocalHost:
    return LocalHost("system", Ask(sudo_password=password) if password else NOBODY, FAKE_AGENT)


def failure(host: LocalHost) -> ProvisionError:
    with pytest.raises(ProvisionError) as caught:
        answer(host, "echo", {})
    assert PASSWORD not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"
    return caught.value


def test_without_a_password(sudo: FakeSudo) -> None:
    assert answer(host(), "echo", {"a": 1}) == {"a": 1}


def test_the_password_is_asked_for_once(sudo: FakeSudo) -> None:
    sudo.wants_password()
    person = Person(PASSWORD)
    machine = host(person)
    for number in range(3):
        assert answer(machine, "echo", {"n": number}) == {"n": number}
    assert len(person.asked) == 1
    assert "[sudo] password for" in person.asked[0]
    assert sudo.tried == [PASSWORD] * 3


def test_the_password_is_in_no_argument_list_and_no_representation(sudo: FakeSudo) -> None:
    sudo.wants_password()
    machine = host(Person(PASSWORD))
    assert PASSWORD not in str(answer(machine, "where", {}))
    assert PASSWORD not in f"{machine._sudo!r}"


def test_a_wrong_password_is_asked_for_again(sudo: FakeSudo) -> None:
    sudo.wants_password()
    person = Person("wrong", PASSWORD)
    assert answer(host(person), "echo", {"a": 1}) == {"a": 1}
    assert person.asked[1].startswith("wrong password, again: ")
    assert sudo.tried == ["wrong", PASSWORD]


def test_three_wrong_passwords_are_enough(sudo: FakeSudo) -> None:
    sudo.wants_password()
    person = Person("one", "two", "three")
    error = failure(host(person))
    assert "refused the password 3 times" in error.message
    assert error.code == ExitCode.UNREACHABLE
    assert sudo.tried == ["one", "two", "three"], "sudo took the request for passwords"


def test_nobody_to_ask(sudo: FakeSudo) -> None:
    sudo.wants_password()
    error = failure(host())
    assert "wants a password, and there is no terminal" in error.message
    assert "NOPASSWD" in error.hint


def test_a_person_who_gives_up(sudo: FakeSudo) -> None:
    sudo.wants_password()
    assert failure(host(Person(None))).code == ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    "words",
    [
        "lab is not in the sudoers file.",
        "lab is not in the sudoers file.  This incident will be reported.",
        "Sorry, user lab may not run sudo on server.",
        "Sorry, user lab is not allowed to execute '/usr/bin/python3 -c x' as root on server.",
        "sudo: I'm sorry lab. I'm afraid I can't do that",
    ],
)
@pytest.mark.parametrize("password", [True, False])
def test_somebody_who_may_not(sudo: FakeSudo, words: str, password: bool) -> None:
    if password:
        sudo.wants_password()
    sudo.refuses_with(words)
    error = failure(host(Person(PASSWORD)))
    assert "may not use sudo" in error.message
    assert "usermod -aG sudo" in error.hint


def test_a_sudo_that_wants_a_terminal(sudo: FakeSudo) -> None:
    sudo.refuses_with("sudo: sorry, you must have a tty to run sudo")
    assert "requiretty" in failure(host()).message


@pytest.mark.parametrize("password", [True, False])
def test_no_python_for_root(sudo: FakeSudo, password: bool) -> None:
    if password:
        sudo.wants_password()
    sudo.refuses_with("sudo: python3: command not found")
    person = Person(PASSWORD)
    error = failure(host(person))
    assert error.message == "this machine has no python3"
    assert error.hint == "sudo apt-get install -y python3"


def test_words_nobody_foresaw_are_passed_on(sudo: FakeSudo) -> None:
    sudo.refuses_with("sudo: the moon is in the wrong house")
    assert "the moon is in the wrong house" in failure(host()).message


def test_no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "/nowhere")
    error = failure(host())
    assert "has no sudo" in error.message
    assert error.code == ExitCode.UNREACHABLE


def test_root_needs_no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "/nowhere")
    assert answer(host(), "echo", {"a": 1}) == {"a": 1}
