"""What a systemd unit file says of the server it starts; read as text, so that it works while systemd does not run."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_provision.agent.adoption.script import ServerCommand, of_arguments

_LARGEST = 1 << 20  # bytes of a script or an environment file


@dataclass(frozen=True)
class Unit:
    """The settings of a unit that matter to us."""

    name: str
    path: str
    user: str
    folder: str
    arguments: list[str]
    environment: dict[str, str] = field(repr=False)

    @property
    def home(self) -> str:
        return home_of(self.user)

    def server(self) -> ServerCommand | None:
        """The server it starts, through however many scripts."""
        environment = {"HOME": self.home, "USER": self.user, **self.environment}
        return of_arguments(self.arguments, text_of, environment, self.folder, self.user)


def unit_at(path: str) -> Unit:
    """The unit of a file, with its drop-ins."""
    settings: dict[str, list[str]] = {}
    for file in [path, *sorted(glob.glob(path + ".d/*.conf"))]:
        _read_into(settings, text_of(file))
    user = (settings.get("User") or ["root"])[-1]
    name = os.path.basename(path)
    marks = {"%h": home_of(user), "%u": user, "%n": name, "%N": name.partition(".")[0], "%%": "%"}
    said = {key: [_expanded(value, marks) for value in values] for key, values in settings.items()}
    folder = (said.get("WorkingDirectory") or ["/"])[-1].lstrip("-")
    environment: dict[str, str] = {}
    for line in said.get("Environment", []):
        environment.update(_assignments(_words(line)))
    for line in said.get("EnvironmentFile", []):
        environment.update(_assignments(_environment_file(text_of(line.lstrip("-")))))
    arguments = _words((said.get("ExecStart") or [""])[-1].lstrip("@-:+!"))
    return Unit(name, path, user, home_of(user) if folder == "~" else folder, arguments, environment)


def home_of(user: str) -> str:
    """The home of a user by name; "" of one who does not exist."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(user).pw_dir
    return ""


def text_of(path: str) -> str:
    """The text of a regular file; "" when there is none, or it is no text."""
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST:
            return ""
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""


def _read_into(settings: dict[str, list[str]], text: str) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith(("#", ";", "[")):
            if value.strip():
                settings.setdefault(key.strip(), []).append(value.strip())
            else:
                settings.pop(key.strip(), None)  # an empty one takes back what was said before


def _expanded(value: str, marks: dict[str, str]) -> str:
    for mark, text in marks.items():
        value = value.replace(mark, text)
    return value


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _environment_file(text: str) -> list[str]:
    lines = [line.strip() for line in text.replace("\\\n", "").splitlines()]
    return [" ".join(_words(line)) for line in lines if line and not line.startswith(("#", ";"))]


def _assignments(words: list[str]) -> dict[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
