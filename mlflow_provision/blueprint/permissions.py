"""To whom a file or folder of a deployment belongs, and who may read it."""

from __future__ import annotations

from mlflow_provision.layout import Layout


def root(layout: Layout) -> tuple[str, str]:
    """Owner and group of what only root writes; in user scope nobody in particular."""
    return ("root", "root") if layout.system else ("", "")


def readable(layout: Layout) -> tuple[int, str, str]:
    """Mode, owner, group of a file that root writes and the service user reads; a person's group may be shared."""
    return (0o640, "root", layout.user) if layout.system else (0o600, "", "")


def enterable(layout: Layout) -> tuple[int, str, str]:
    """The same of a folder of such files."""
    return (0o750, "root", layout.user) if layout.system else (0o700, "", "")
