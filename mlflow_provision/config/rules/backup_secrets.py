"""Secrets of backups: what can be used. None of these ever says the secret."""

from __future__ import annotations

from mlflow_provision.config.wording import has_control_characters

SHORTEST_PASSPHRASE = 12
LONGEST_SECRET = 1000


def passphrase_problem(passphrase: str) -> str | None:
    """Whoever has a backup can try passphrases on it at leisure: a short one is found."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        return f"has {len(passphrase)} characters: use at least {SHORTEST_PASSPHRASE}, better four words or more"
    if len(passphrase) > LONGEST_SECRET:
        return f"has {len(passphrase)} characters: use at most {LONGEST_SECRET}"
    if has_control_characters(passphrase):
        return "has a line break or another control character"
    return "starts or ends with a space" if passphrase != passphrase.strip() else None


def ping_url_problem(url: str) -> str | None:
    """A URL that is asked after every scheduled backup. Its path is what makes it secret."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url or "#" in url:
        return "is not a URL that starts with https:// or http://"
    return f"is longer than {LONGEST_SECRET} characters" if len(url) > LONGEST_SECRET else None
