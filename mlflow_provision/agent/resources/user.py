"""The system user a server runs as."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass

from mlflow_provision.agent import command
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources.base import Change, Context


@dataclass(frozen=True)
class User:
    """A system user with a group of the same name, no login and no password."""

    id: str
    name: str
    home: str

    @property
    def title(self) -> str:
        return f"user {self.name}"

    def check(self, context: Context) -> Change | None:
        account = _account(self.name)
        if account is None:
            return Change("create (system user, no login)")
        if account.pw_dir != self.home:
            raise AgentError(
                f"there is a user {self.name} already, and it is not ours (its home is {account.pw_dir})",
                "give this deployment another name: --name OTHER",
            )
        return None if _gid(self.name) == account.pw_gid else Change("finish: it has no group")

    def apply(self, context: Context) -> None:
        if _account(self.name):
            # useradd writes one file after the other, and was killed in between.
            if _gid(self.name) is None:
                command.run(["groupadd", "--system", self.name])
            command.run(["usermod", "--gid", self.name, "--password", "!", self.name])
            return
        options = [
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            self.home,
            "--shell",
            "/usr/sbin/nologin",
        ]
        command.run(["useradd", *options, self.name])


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
