"""Reading and writing the operator's small files: whole or not at all, and never wider open than they should be."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow_provision.config.wording import shown
from mlflow_provision.errors import ExitCode, ProvisionError

LARGEST_FILE = 1024 * 1024
LONGEST_SHOWN_PATH = 300
OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Turn the operating system's refusals into an error that names the file."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        name = str(path) if str(path).isprintable() and len(str(path)) < LONGEST_SHOWN_PATH else shown(str(path))
        hint = f"see what is there: ls -ld {quoted(path)}"
        raise ProvisionError(f"cannot {what} {name}: {reason}", hint, ExitCode.USAGE) from error


def read_text(path: Path) -> str:
    """The text of a TOML file, which is UTF-8 and small."""
    with explained(path, "read"), path.open("rb") as file:
        return decoded(file.read(LARGEST_FILE + 1), path)


def read_private_text(path: Path) -> str:
    """The same of a file that nobody else may open; refused if they can."""
    with explained(path, "read"), path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & OPEN_TO_OTHERS:
            raise ProvisionError(
                f"{path} has secrets in it and others on this machine can open it",
                hint=f"chmod 600 {quoted(path)}",
                code=ExitCode.USAGE,
            )
        return decoded(file.read(LARGEST_FILE + 1), path)


def decoded(content: bytes, path: Path) -> str:
    if len(content) > LARGEST_FILE:
        raise ProvisionError(f"{path} is larger than a megabyte: this is no deployment file", code=ExitCode.USAGE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"{path} is not a UTF-8 text file: see line {line}"
    raise ProvisionError(message, code=ExitCode.USAGE)


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """The tables of a TOML file. What is wrong is said by its place, never by quoting a line: it may hold a secret."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        tables: dict[str, Any] = tomllib.loads(text)
        return tables
    except (ValueError, RecursionError) as error:
        place = re.search(r"\(at (?:(line \d+, column \d+)|(end of document))\)", str(error))
        where = (place[1] or "at its end") if place else "a number or a nesting in it is too large"
    raise ProvisionError(
        f"{path} is not valid TOML: {where}",
        hint=f"open {path} there: texts need quotes, and each key and each table may occur once",
        code=ExitCode.USAGE,
    )


def write_whole(path: Path, text: str, mode: int) -> None:
    """Write a new file, with `mode` from the start, and rename it: there is always the old one or the new one."""
    target = Path(os.path.realpath(path))  # a link into a folder under version control stays one
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with explained(path, "write"):
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.unlink(missing_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                os.fchmod(descriptor, mode)
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def delete(path: Path) -> None:
    """Delete a file, and what a write that was killed may have left beside it."""
    from glob import escape

    with explained(path, "delete"):
        for left in [*path.parent.glob(f".{escape(path.name)}.*.tmp"), path]:
            left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))
