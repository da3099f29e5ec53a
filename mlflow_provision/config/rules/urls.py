"""URLs that reach the host."""

from __future__ import annotations

import re

from mlflow_provision.config.wording import shown

LONGEST_URL = 1000
SAFE_URL = re.compile(r"https?://[A-Za-z0-9._~:/\[\]%+,=@!-]+", re.IGNORECASE)


def url_problem(url: str) -> str | None:
    """Why this is not the URL of a server, without credentials; such a URL is a secret and is never shown."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        scheme, name, credentials, _ = parts.scheme, parts.hostname, "@" in parts.netloc, parts.port
    except ValueError:
        return f"{shown(url)} is not a URL"
    if credentials:
        return "has credentials in it, and this file is no place for a secret: give the URL without user and password"
    if scheme not in ("http", "https") or not name:
        return f"{shown(url)} is not a URL that starts with https:// or http://"
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        return "has a '?' or '#' part, which may carry a secret: give the URL without it"
    if len(url) > LONGEST_URL or not SAFE_URL.fullmatch(url):
        return (
            f"{shown(url)} cannot be used: a URL has no spaces, quotes or other special characters (write them as %20)"
        )
    return None
