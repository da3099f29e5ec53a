"""The password that sudo wants: asked for once, kept in memory for this process, never in an argument list."""

from __future__ import annotations

import re

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import hops
from mlflow_provision.host.ask import Ask
from mlflow_provision.host.hops import Broken
from mlflow_provision.host.where import Where

PROMPT = "MLFLOW-PROVISION-PASSWORD"  # so that a second question, after a wrong password, is seen for what it is
WITHOUT_PASSWORD = ("sudo", "-n", "-H")
WITH_PASSWORD = ("sudo", "-S", "-H", "-p", PROMPT)
TRIES = 3

_WANTS_PASSWORD = re.compile(
    r"password is required|interactive authentication is required|no tty present and no askpass|terminal is required"
)
_WRONG_PASSWORD = re.compile(r"try again|incorrect (password|authentication) attempt|no password was provided")
_FORBIDDEN = re.compile(r"not in the sudoers file|may not run sudo|is not allowed to|afraid I can't do that", re.I)
_WANTS_TERMINAL = re.compile(r"must have a tty")


class Sudo:
    """Decides what to do when sudo has refused: ask for the password, or give up and say why."""

    def __init__(self, where: Where, ask: Ask) -> None:
        self._where = where
        self._ask = ask
        self._tries = 0
        self.password: str | None = None

    def __repr__(self) -> str:
        return f"Sudo({self._where.label})"

    @staticmethod
    def asks_again(stderr: str) -> bool:
        """Has the password we sent been refused, so that sudo now waits for another one?"""
        return stderr.count(PROMPT) > 1 or bool(_WRONG_PASSWORD.search(stderr))

    def after_refusal(self, stderr: str) -> bool:
        """True: there is a (new) password, start again. False: it was not about sudo. Otherwise raises."""
        if _FORBIDDEN.search(stderr):
            raise self._error(
                f"{self._where.user} may not use sudo on {self._where.label}",
                "use a user who may, or root; on the host root can allow it: "
                f"usermod -aG sudo {self._where.user or 'USER'}",
            )
        if _WANTS_TERMINAL.search(stderr):
            raise self._error(
                f"sudo on {self._where.label} wants a terminal (requiretty)",
                f"remove `Defaults requiretty`: {self._where.as_root('visudo')}",
            )
        wrong = self.password is not None and self.asks_again(stderr)
        if wrong or _WANTS_PASSWORD.search(stderr):
            self.password = self._new_password(wrong)
            return True
        return False

    def accepted(self) -> None:
        self._tries = 0

    def _new_password(self, wrong: bool) -> str:
        if self._ask.sudo_password is None:
            raise self._error(
                f"sudo on {self._where.label} wants a password, and there is no terminal to ask for it",
                "run the same command in a terminal, or allow sudo without a password "
                f"(NOPASSWD): {self._where.as_root('visudo')}",
            )
        if self._tries == TRIES:
            self.password = None
            raise self._error(
                f"sudo on {self._where.label} refused the password {TRIES} times",
                f"try it by hand: {self._where.command('sudo -k true', terminal=True)}",
            )
        self._tries += 1
        again = "wrong password, again: " if wrong else ""
        password = self._ask.sudo_password(f"{again}[sudo] password for {self._where.user} on {self._where.label}")
        if password is None:
            raise ProvisionError("no password for sudo was given", "run the same command again", ExitCode.INTERRUPTED)
        return password

    @staticmethod
    def _error(message: str, hint: str) -> ProvisionError:
        return Broken(hops.SUDO, message, hint)
