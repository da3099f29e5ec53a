"""Other keys for a profile in ~/.aws/credentials: two lines change, all else stays as its owner wrote it."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from mlflow_provision.aws.profiles import option, refused
from mlflow_provision.aws.roles import AccessKey
from mlflow_provision.config.files import read_text, write_whole
from mlflow_provision.config.wording import shown

_SECTION = re.compile(r"\s*\[\s*([^\]]+?)\s*\]")
_SETTING = re.compile(r"(\s*)(aws_access_key_id|aws_secret_access_key)(\s*[=:]\s*)", re.IGNORECASE)


def credentials_file() -> Path:
    """The file that the AWS tools read, or that their variable names."""
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()


def replace_keys(profile: str, key: AccessKey) -> None:
    """Write the key into the profile. Refuses one whose keys are not in that file."""
    path = credentials_file()
    text = read_text(path) if path.exists() else ""
    lines, found = _replaced(text.splitlines(keepends=True), profile, key)
    if found != {"aws_access_key_id", "aws_secret_access_key"}:
        raise refused(
            f"the keys of the AWS profile {shown(profile)} are not in {path}",
            f"enter the new ones yourself: aws configure {option(profile)}",
        )
    write_whole(path, "".join(lines), stat.S_IMODE(path.stat().st_mode))


def _replaced(lines: list[str], profile: str, key: AccessKey) -> tuple[list[str], set[str]]:
    """The lines with the new values, and which of the two settings were there."""
    values = {"aws_access_key_id": key.access_key_id, "aws_secret_access_key": key.secret_access_key}
    section = ""
    found: set[str] = set()
    new: list[str] = []
    for line in lines:
        if head := _SECTION.match(line):
            section = head[1]
        setting = _SETTING.match(line) if section == profile else None
        if setting:
            found.add(setting[2].lower())
            line = "".join(setting.groups()) + values[setting[2].lower()] + ("\r\n" if line.endswith("\r\n") else "\n")
        new.append(line)
    return new, found
