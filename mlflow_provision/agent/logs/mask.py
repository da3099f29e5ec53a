"""Takes secrets out of what is shown of a log: those of this server, and what looks like one of anybody's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Iterator

STARS = "********"
_SHORTEST = 6  # characters; what is shorter is in too many words
_SETTING = re.compile(r"^\s*[A-Za-z_][\w.]*\s*=\s*(.*?)\s*$", re.MULTILINE)
_NAMES = ("key", "secret", "token", "password", "passphrase", "ping_url")  # of what is secret in JSON
_LIKELY = (
    re.compile(r"((?:X-Amz-(?:Signature|Credential|Security-Token)|sig|AWSAccessKeyId|Signature)=)[^&\s\"']+"),
    re.compile(r"(://[^/\s:@\"']*:)[^@\s/\"']+(?=@)"),
    re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer)\s+)[^\s\"',]+", re.IGNORECASE),
    re.compile(r"((?:password|passwd|passphrase|secret_access_key|session_token)[\"']?\s*[:=]\s*[\"'])[^\"']+", re.I),
    re.compile(r"((?:password|passwd|passphrase|secret_access_key|session_token)=)[^\s\"'&,;]+", re.IGNORECASE),
)


class Mask:
    """Knows the values in the files of secrets at `paths`: settings (`name=value`), or JSON."""

    def __init__(self, paths: list[str]) -> None:
        values = {value for path in paths for value in _values(path) if len(value) >= _SHORTEST}
        # A longer one first: another may be its beginning.
        words = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))
        self._known = re.compile(words) if words else None

    def applied(self, text: str) -> str:
        """The text with stars for what nobody may read."""
        if self._known:
            text = self._known.sub(STARS, text)
        for pattern in _LIKELY:
            text = pattern.sub(r"\1" + STARS, text)
        return text


def _values(path: str) -> Iterator[str]:
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return
    try:
        yield from _of_json(json.loads(text))
    except ValueError:
        for value in _SETTING.findall(text):
            yield value.strip("\"'")


def _of_json(content: Any, name: str = "") -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _of_json(value, str(key))
    elif isinstance(content, list):
        for value in content:
            yield from _of_json(value, name)
    elif isinstance(content, str) and any(part in name for part in _NAMES):
        yield content
