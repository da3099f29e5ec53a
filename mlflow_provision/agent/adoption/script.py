"""What a start script would run: the `mlflow server` command in it, with its variables resolved."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass, field
from typing import Callable

from mlflow_provision.agent.adoption.words import DECLARING, Splitter

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=(.*)", re.DOTALL)
_DEFAULT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::?[-=])(.*)", re.DOTALL)
_KEYWORDS = {
    "if",
    "then",
    "else",
    "elif",
    "while",
    "until",
    "do",
    "!",
    "{",
    "time",
    "exec",
    "nohup",
    "setsid",
    "command",
}
_SUDO_VALUES = {"-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T"}
UNKNOWN = "\1"  # stands in words for what only running a program could tell
_DEEPEST = 5  # scripts that read scripts


@dataclass(frozen=True)
class ServerCommand:
    """A command that starts a server: its arguments, its environment as far as it is known, and its folder."""

    argv: list[str]
    environment: dict[str, str] = field(repr=False)
    folder: str
    user: str = ""


def server_command(
    path: str, read: Callable[[str], str], environment: dict[str, str], folder: str, user: str = ""
) -> ServerCommand | None:
    """The last server that the script at `path` starts; None when it starts none. `read` gives a file's text or ""."""
    shell = _Shell(read, dict(environment), folder, user)
    shell.read_file(path)
    return shell.found


def of_arguments(
    argv: list[str], read: Callable[[str], str], environment: dict[str, str], folder: str, user: str = ""
) -> ServerCommand | None:
    """The same of a command line, which may name a script: an ExecStart."""
    shell = _Shell(read, dict(environment), folder, user)
    shell.run(list(argv))
    if shell.found is None and argv:
        names = [word for word in argv if word.startswith("/") or word.endswith(".sh")]
        for name in names:
            shell.read_file(name)
    return shell.found


class _Shell:
    def __init__(self, read: Callable[[str], str], environment: dict[str, str], folder: str, user: str) -> None:
        self._read = read
        self._variables = environment
        self._arrays: dict[str, list[str]] = {}
        self._folder = folder
        self._user = user
        self._script = ""
        self._depth = 0
        self.found: ServerCommand | None = None

    def read_file(self, path: str) -> None:
        """What a script, or a file of assignments, does to us."""
        path = posixpath.normpath(posixpath.join(self._folder, path))
        text = self._read(path)
        if text and self._depth < _DEEPEST and "\0" not in text:
            before, self._script = self._script, path
            self._text(text)
            self._script = before

    def run(self, words: list[str]) -> None:
        """One simple command."""
        environment = dict(self._variables)
        while words:
            word = words[0]
            assignment = _ASSIGNMENT.fullmatch(word)
            if word in _KEYWORDS:
                words = words[1:]
            elif assignment:
                self._assign(assignment, environment if len(words) > 1 else self._variables)
                words = words[1:]
            elif word == "env":
                words = _without_options(words[1:], {"-u", "-C"})
            elif word in ("sudo", "runuser", "doas"):
                self._user = _option(words, "-u") or ("root" if word == "sudo" else self._user)
                words = _without_options(words[1:], _SUDO_VALUES)
            elif word in ("nice", "ionice", "stdbuf", "timeout"):
                words = _without_options(words[1:], {"-n", "-c"})
            else:
                break
        if words:
            self._command(words, environment)

    def _command(self, words: list[str], environment: dict[str, str]) -> None:
        name = posixpath.basename(words[0])
        if name in DECLARING:
            for assignment in filter(None, map(_ASSIGNMENT.fullmatch, words[1:])):
                self._assign(assignment, self._variables)
        elif name in ("cd", "pushd") and len(words) > 1:
            self._folder = posixpath.normpath(posixpath.join(self._folder, words[1]))
        elif name in (".", "source") and len(words) > 1 and posixpath.basename(words[1]) != "activate":
            self.read_file(words[1])
        elif name in (".", "source") and len(words) > 1:
            venv = posixpath.dirname(posixpath.dirname(posixpath.join(self._folder, words[1])))
            self._variables["VIRTUAL_ENV"] = posixpath.normpath(venv)
        elif name in ("sh", "bash", "dash", "su") and _dash_c(words):
            self._text(_dash_c(words))
        elif name in ("sh", "bash", "dash") and len(words) > 1 and not words[-1].startswith("-"):
            self.read_file(next(word for word in words[1:] if not word.startswith("-")))
        elif starts_server(words):
            self.found = ServerCommand(words, environment, self._folder, self._user)
        elif name.endswith(".sh"):
            self.read_file(words[0])

    def _text(self, text: str) -> None:
        self._depth += 1
        if self._depth <= _DEEPEST:
            Splitter(text, self._expand, self.run, self._variables.get("HOME", "")).split()
        self._depth -= 1

    def _assign(self, assignment: re.Match[str], into: dict[str, str]) -> None:
        name, append, value = assignment.groups()
        if "\0" in value:
            self._arrays[name] = [*(self._arrays.get(name, []) if append else []), *value.split("\0")[1:]]
        else:
            into[name] = into.get(name, "") + value if append else value

    def _expand(self, inside: str) -> str:
        if inside.startswith("("):
            return self._substitution(inside[1:-1])
        if inside.endswith(("[@]", "[*]")):
            return "\0".join(self._arrays.get(inside[:-3], []))
        if inside in ("0", "BASH_SOURCE[0]", "BASH_SOURCE"):
            return self._script
        if inside == "PWD":
            return self._folder
        default = _DEFAULT.fullmatch(inside)
        if default:
            return self._variables.get(default[1]) or self._inner(default[2])
        return self._variables.get(inside, "")

    def _inner(self, text: str) -> str:
        """A default value, which may hold variables itself."""
        found: list[str] = []
        Splitter(f'"{text}"' if '"' not in text else text, self._expand, found.extend).split()
        return " ".join(found)

    def _substitution(self, text: str) -> str:
        """Only what scripts use to find themselves; anything else is unknown."""
        if "dirname" in text and ("$0" in text or "BASH_SOURCE" in text):
            folder = posixpath.dirname(self._script)
            above = re.search(r"(?:/\.\.)+", text)
            return posixpath.normpath(folder + above[0]) if above else folder
        if text.strip() in ("pwd", "pwd -P"):
            return self._folder
        if text.strip() in ("whoami", "id -un"):
            return self._variables.get("USER", "")
        return UNKNOWN


def starts_server(words: list[str]) -> bool:
    """`mlflow server`, `/venv/bin/mlflow ui`, `python -m mlflow server`."""
    for number, word in enumerate(words[:-1]):
        if os.path.basename(word) == "mlflow" and words[number + 1] in ("server", "ui"):
            return True
    return False


def _option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1] if name in words[:-1] else ""


def _without_options(words: list[str], with_value: set[str]) -> list[str]:
    while words and words[0].startswith("-"):
        words = words[2 if words[0] in with_value else 1 :]
    return words


def _dash_c(words: list[str]) -> str:
    """What follows the -c of a shell, which may be one of several letters: bash -lc TEXT."""
    for number, word in enumerate(words[1:-1], 1):
        if re.fullmatch(r"-[a-z]*c", word):
            return words[number + 1]
    return ""
