"""Why the agent did not start, or ended without an answer: sentences for people."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host import hops
from mlflow_provision.host.hops import Broken
from mlflow_provision.host.sudo import PROMPT
from mlflow_provision.host.where import Where

OLDEST_PYTHON = "3.9"
_MISSING_MODULE = re.compile(r"No module named '?(?!mlflow_provision)([\w.]+)")
_OTHER_USER = re.compile(r'[Ll]og ?in as the user "([^"]+)"')


class AgentCrash(ProvisionError):
    """The agent ended without an answer: a bug of ours. `detail` is its traceback, for --debug."""

    def __init__(self, message: str, hint: str, detail: str) -> None:
        super().__init__(message, hint)
        self.detail = detail


@dataclass(frozen=True)
class Ending:
    """How a process ended before it said `done`."""

    status: int
    stderr: str
    stdout: tuple[str, ...]  # what was neither an event nor expected
    lost: bool  # did the connection die?
    interrupted: bool
    step: str = ""  # the title of the last step that began

    @property
    def last_words(self) -> str:
        spoken = [*self.stdout, *self.stderr.replace(PROMPT, "").splitlines()]
        return next((line.strip() for line in reversed(spoken) if line.strip()), f"exit status {self.status}")


def never_started(ending: Ending, where: Where) -> ProvisionError:
    """For a process that ended before our bootstrap said it runs."""
    if common := _interrupted_or_lost(ending, where):
        return common
    if re.search(r"sudo: (command )?not found", ending.stderr):
        return no_sudo(where)
    if re.search(r"python3: (command )?not found", ending.stderr):
        return no_python(where)
    if missing := _MISSING_MODULE.search(ending.stderr):
        return _incomplete_python(missing[1], where)
    if other := _OTHER_USER.search("\n".join(ending.stdout) + ending.stderr):
        return Broken(
            hops.LOGIN,
            f"{where.label} wants another user: {other[1]}",
            f"use {other[1]}@ in place of {where.user}@",
        )
    return Broken(
        hops.PYTHON,
        f"{where.label} did not run our program: {ending.last_words}",
        f"see what it does with: {where.command('python3 --version')}",
    )


def ended_early(ending: Ending, where: Where) -> ProvisionError:
    """For an agent that had started."""
    if common := _interrupted_or_lost(ending, where):
        return common
    if missing := _MISSING_MODULE.search(ending.stderr):
        return _incomplete_python(missing[1], where)
    if "Traceback" not in ending.stderr and (ending.status < 0 or ending.status > 128):
        return ProvisionError(
            f"our program on {where.label} was killed{_during(ending)}",
            f"was it short of memory? {where.as_root('dmesg')}; then run the same command again: "
            "it continues where it stopped",
        )
    return AgentCrash(
        f"our program on {where.label} failed{_during(ending)}: {ending.last_words}",
        "this is a bug; run the same command with --debug to see where",
        "\n".join([*ending.stdout, ending.stderr]).strip(),
    )


def old_python(version: str, where: Where) -> ProvisionError:
    return Broken(
        hops.PYTHON,
        f"python3 on {where.label} is {version}; {OLDEST_PYTHON} or newer is needed",
        "use Debian 11, Ubuntu 22.04 or newer",
        ExitCode.FAILED,
    )


def not_linux(platform: str, where: Where) -> ProvisionError:
    return Broken(
        hops.PYTHON,
        f"{where.label} does not run Linux, but {platform}",
        "set the server up on a Linux host: user@host",
        ExitCode.FAILED,
    )


def no_python(where: Where) -> ProvisionError:
    return Broken(
        hops.PYTHON, f"{where.label} has no python3", where.as_root("apt-get install -y python3"), ExitCode.FAILED
    )


def no_sudo(where: Where) -> ProvisionError:
    return Broken(
        hops.SUDO,
        f"{where.label} has no sudo, and {where.user} is not root",
        "use root instead, or as root: apt-get install -y sudo",
    )


def lost(where: Where, during: str = "") -> ProvisionError:
    return Broken(
        hops.NETWORK,
        f"the connection to {where.label} was lost{during}",
        "run the same command again: it continues where it stopped",
    )


def no_channel(why: str, where: Where) -> ProvisionError:
    return Broken(hops.LOGIN, f"{where.label} lets us in, but runs no commands for us: {why}", where.command("true"))


def _interrupted_or_lost(ending: Ending, where: Where) -> ProvisionError | None:
    if ending.lost:
        return lost(where, _during(ending))
    if ending.interrupted:
        return ProvisionError(
            f"interrupted{_during(ending)}",
            "run the same command again: it continues where it stopped",
            ExitCode.INTERRUPTED,
        )
    return None


def _incomplete_python(module: str, where: Where) -> ProvisionError:
    return Broken(
        hops.PYTHON,
        f"python3 on {where.label} is incomplete: it has no module {module!r}",
        where.as_root("apt-get install -y python3"),
        ExitCode.FAILED,
    )


def _during(ending: Ending) -> str:
    return f" during “{ending.step}”" if ending.step else ""
