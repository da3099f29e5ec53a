"""Which schemas the release on this host knows, read from its migrations without importing MLflow."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from mlflow_provision.agent.databases import TRACKING, USERS

FOLDERS = {TRACKING: "store/db_migrations/versions", USERS: "server/auth/db/migrations/versions"}
_REVISION = re.compile(r"""^revision\b[^=\n]*=\s*["']([^"']+)""", re.MULTILINE)
_BEFORE = re.compile(r"^down_revision\b[^=\n]*=(.*)$", re.MULTILINE)
_QUOTED = re.compile(r"""["']([^"']+)""")


def known(release: str, database: str) -> tuple[set[str], set[str]]:
    """Every revision that a release can migrate from, and the newest ones of them (one, as long as nobody forked)."""
    revisions: set[str] = set()
    passed: set[str] = set()
    pattern = f"{glob.escape(release)}/lib/python*/site-packages/mlflow/{FOLDERS[database]}/*.py"
    for path in glob.glob(pattern):
        text = Path(path).read_text("utf-8", "replace")
        revisions.update(_REVISION.findall(text))
        for before in _BEFORE.findall(text):
            passed.update(_QUOTED.findall(before))
    return revisions, revisions - passed


def outdated(release: str, schema: dict[str, str]) -> list[str]:
    """The databases with an older schema than the release wants: they are migrated before it uses them."""
    return [name for name in FOLDERS if name in schema and schema[name] not in known(release, name)[1]]
