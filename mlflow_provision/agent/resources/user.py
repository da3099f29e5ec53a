"""The system user a server runs as."""

from __future__ import annotations

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
        try:
            account = pwd.getpwnam(self.name)
        except KeyError:
            return Change("create (system user, no login)")
        if account.pw_dir != self.home:
            raise AgentError(
                f"there is a user {self.name} already, and it is not ours (its home is {account.pw_dir})",
                "give this deployment another name: --name OTHER",
            )
        return None

    def apply(self, context: Context) -> None:
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
