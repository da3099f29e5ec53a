"""A `sudo` for tests: asks, refuses and forbids like the real one, and notes every word it took for a password."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "c0rrect horse"

# What sudo 1.9 and sudo-rs write, word for word, in the C locale.
NEEDS = {"classic": "sudo: a password is required", "rs": "sudo: interactive authentication is required"}
WRONG = {"classic": "Sorry, try again.", "rs": "sudo: Authentication failed, try again."}

_SCRIPT = """#!/bin/sh
here={folder}
while :; do
    case "$1" in
        -n) quiet=1; shift ;;
        -S) asks=1; shift ;;
        -H) shift ;;
        -p) prompt="$2"; shift 2 ;;
        *) break ;;
    esac
done
if [ -e "$here/password" ]; then
    if [ -n "$quiet" ]; then echo "{needs}" >&2; exit 1; fi
    for try in 1 2 3; do
        printf %s "$prompt" >&2
        read -r given || {{ echo >&2; echo "sudo: no password was provided" >&2; exit 1; }}
        printf '%s\\n' "$given" >> "$here/tried"
        [ "$given" = "$(cat "$here/password")" ] && {{ ok=1; break; }}
        echo "{wrong}" >&2
    done
    [ -n "$ok" ] || {{ echo "sudo: 3 incorrect password attempts" >&2; exit 1; }}
fi
if [ -s "$here/says" ]; then cat "$here/says" >&2; exit 1; fi
exec "$@"
"""


@dataclass(frozen=True)
class FakeSudo:
    """Put its folder first in PATH."""

    folder: Path

    def install(self, kind: str = "classic") -> FakeSudo:
        script = self.folder / "sudo"
        script.write_text(_SCRIPT.format(folder=self.folder, needs=NEEDS[kind], wrong=WRONG[kind]))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return self

    def wants_password(self) -> None:
        (self.folder / "password").write_text(PASSWORD)

    def refuses_with(self, words: str) -> None:
        """After the password, if it wants one."""
        (self.folder / "says").write_text(words + "\n")

    @property
    def tried(self) -> list[str]:
        noted = self.folder / "tried"
        return noted.read_text().splitlines() if noted.exists() else []

    @property
    def search_path(self) -> str:
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"
