"""An answer of the store's that is no success."""

from __future__ import annotations

import html
import re

from mlflow_provision.agent.http import Response

# Of the store's own trouble, or of the way there. The last two: what arrived is not what was sent.
_PASSING = (
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
    "IncompleteBody",
    "BadDigest",
    "XAmzContentSHA256Mismatch",
)


class S3Error(Exception):
    """What the store answered instead: an error code of S3's (`AccessDenied`, …), a message, the HTTP answer."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.code = element(response.text, "Code") or f"HTTP {response.status}"
        self.message = element(response.text, "Message")
        self.date = response.headers.get("date", "")
        super().__init__(f"{self.code}: {self.message}" if self.message else self.code)

    @property
    def passing(self) -> bool:
        """Is the same request worth another try?"""
        return (self.status >= 500 and self.code != "NotImplemented") or self.status == 429 or self.code in _PASSING

    @property
    def expired(self) -> bool:
        """Do fresh credentials help?"""
        return self.code in ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")


def element(text: str, name: str) -> str:
    """The content of the first XML element of that name, or ""."""
    found = re.search(rf"<{name}(?: [^>]*)?>(.*?)</{name}>", text, re.DOTALL)
    return html.unescape(found.group(1)).strip() if found else ""
