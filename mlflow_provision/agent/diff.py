"""Unified diffs of files in which no secret can be read."""

from __future__ import annotations

import difflib
import re

# `key = value`, or a line of JSON.
_ASSIGNMENT = re.compile(r"""^(\s*(?:export\s+)?"?([A-Za-z_][A-Za-z0-9_.-]*)(?:\s*=\s*|":\s+))(.*)$""")
# Where a secret begins in a file that should hold none: people put them into env files and units all the same.
_SUSPECT = re.compile(
    r"""(secret|passw|token|access_?key|api_?key)[\w.-]*["']?\s*[=:] | ://[^/@\s:]*:(?=[^/@\s]*@)""",
    re.IGNORECASE | re.VERBOSE,
)
_LIMIT = 400  # lines; a person reads no more, and the whole diff travels in one event


def unified(path: str, old: str | None, new: str, secret_keys: tuple[str, ...] = ()) -> str:
    """The diff that turns `old` (None: no file) into `new`.

    With `secret_keys` the file holds secrets: the values of those keys are hidden, and so is every old line that
    does not stand in the new file too (a person may have put a secret there). In other files only what looks like one.
    """
    if secret_keys:
        old, new = _mask(old, new, secret_keys)
    elif old is not None:
        old = _mask_suspects(old, set(new.splitlines()))
    lines = list(
        difflib.unified_diff(
            [] if old is None else old.splitlines(),
            new.splitlines(),
            "/dev/null" if old is None else path,
            path,
            lineterm="",
        )
    )
    if len(lines) > _LIMIT:
        lines = [*lines[:_LIMIT], f"… {len(lines) - _LIMIT} more lines"]
    return "\n".join(lines)


def _mask(old: str | None, new: str, secret_keys: tuple[str, ...]) -> tuple[str | None, str]:
    wanted: dict[str, str] = {}
    masked_new = []
    for line in new.splitlines():
        match = _ASSIGNMENT.match(line)
        if match and match.group(2) in secret_keys:
            wanted[match.group(2)] = match.group(3)
            line = match.group(1) + "<secret>"
        masked_new.append(line)
    if old is None:
        return None, "\n".join(masked_new)
    known_keys = {match.group(2) for match in map(_ASSIGNMENT.match, masked_new) if match} - set(secret_keys)
    known_lines = set(masked_new)
    masked_old = []
    for line in old.splitlines():
        match = _ASSIGNMENT.match(line)
        if match and match.group(2) in secret_keys:
            same = wanted.get(match.group(2)) == match.group(3)
            masked_old.append(match.group(1) + ("<secret>" if same else "<another secret>"))
        elif line in known_lines or (match and match.group(2) in known_keys and not _any(secret_keys, match.group(3))):
            masked_old.append(line)
        else:
            masked_old.append("<not shown: this file holds secrets>")  # what looks like its key may be base64
    return "\n".join(masked_old), "\n".join(masked_new)


def _any(secret_keys: tuple[str, ...], text: str) -> bool:
    """JSON may have a secret behind something else in the same line."""
    return any(key in text for key in secret_keys)


def _mask_suspects(old: str, known: set[str]) -> str:
    masked = []
    for line in old.splitlines():
        suspect = None if line in known else _SUSPECT.search(line)
        masked.append(line[: suspect.end()] + "<not shown>" if suspect else line)
    return "\n".join(masked)
