"""The files and links that an upgrade may change: kept before, and put back as they were."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, Iterable

from mlflow_provision.agent.durable import duplicate, sync_folder
from mlflow_provision.agent.names import BESIDE
from mlflow_provision.agent.resources import Context, Resource
from mlflow_provision.agent.resources.absent import PathAbsent
from mlflow_provision.agent.resources.directory import Directory
from mlflow_provision.agent.resources.file import File, read
from mlflow_provision.agent.resources.generated_secrets import GeneratedSecrets
from mlflow_provision.agent.resources.owned_tree import OwnedTree
from mlflow_provision.agent.resources.record import Record
from mlflow_provision.agent.resources.symlink import Symlink
from mlflow_provision.agent.resources.user import User

FILE, LINK, FOLDER, NOTHING = "file", "link", "folder", "nothing"
_CHANGED = (Directory, OwnedTree, File, GeneratedSecrets, Symlink, PathAbsent, Record)


def of(resources: Iterable[Resource]) -> list[Resource]:
    """Those resources that an upgrade makes true while the server stands still, in their order."""
    return [resource for resource in resources if isinstance(resource, (*_CHANGED, User))]


def save(resources: Iterable[Resource], folder: str) -> list[dict[str, Any]]:
    """Keep what is at the places of these resources: files as copies in `folder`, of the rest what it is."""
    paths = dict.fromkeys(resource.path for resource in resources if isinstance(resource, _CHANGED))
    return [_saved(path, f"{folder}/{number:02}-{os.path.basename(path)}") for number, path in enumerate(paths)]


def put_back(saved: list[dict[str, Any]]) -> None:
    """Everything as it was. Safe to repeat; the last that was changed comes first."""
    for item in reversed(saved):
        _put_back(item)
    for folder in {os.path.dirname(item["path"]) for item in saved}:
        if os.path.isdir(folder):
            sync_folder(folder)


def forget_unchanged(saved: list[dict[str, Any]]) -> list[str]:
    """Remove the copies of files that the upgrade has left alone. Returns the paths of those that it changed."""
    changed = []
    for item in saved:
        if item["kind"] == FILE:
            if _same(item["copy"], item["path"]):
                Path(item["copy"]).unlink(missing_ok=True)
            else:
                changed.append(item["path"])
        elif item["kind"] == LINK and _now(item["path"]) != item["was"]:
            changed.append(item["path"])
    return changed


def on_the_disk(saved: list[dict[str, Any]]) -> None:
    """The names of what was changed stay when the power goes."""
    for folder in {os.path.dirname(item["path"]) for item in saved}:
        if os.path.isdir(folder):
            sync_folder(folder)


def content(resources: Iterable[Resource], path: str) -> File | None:
    """The file that is to be at a path."""
    return next((item for item in resources if isinstance(item, File) and item.path == path), None)


def _saved(path: str, copy: str) -> dict[str, Any]:
    if os.path.islink(path):
        return {"path": path, "kind": LINK, "was": os.readlink(path)}
    if os.path.isdir(path):
        info = os.stat(path)
        return {"path": path, "kind": FOLDER, "was": [stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid]}
    if os.path.lexists(path):
        duplicate(path, copy)
        return {"path": path, "kind": FILE, "copy": copy}
    return {"path": path, "kind": NOTHING}


def _put_back(item: dict[str, Any]) -> None:
    path, kind = item["path"], item["kind"]
    with contextlib.suppress(FileNotFoundError):  # half of what was to take its place
        os.unlink(os.path.join(os.path.dirname(path), f".{os.path.basename(path)}{BESIDE}"))
    if kind == LINK:
        link = Symlink("link", path, item["was"])
        if link.check(Context()):
            link.apply(Context())
    elif kind == FOLDER:
        mode, uid, gid = item["was"]
        info = os.stat(path)
        if [stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid] != [mode, uid, gid]:
            if os.geteuid() == 0:
                os.chown(path, uid, gid)
            os.chmod(path, mode)
    elif kind == FILE:
        if not _same(item["copy"], path):
            duplicate(item["copy"], path)
    elif os.path.isdir(path) and not os.path.islink(path):
        with contextlib.suppress(OSError):  # what is in it now is not ours
            os.rmdir(path)
    else:
        Path(path).unlink(missing_ok=True)


def _same(copy: str, path: str) -> bool:
    now = read(path)
    if now is None or now != read(copy):
        return False
    old, new = os.stat(copy), os.stat(path)
    return (old.st_mode, old.st_uid, old.st_gid) == (new.st_mode, new.st_uid, new.st_gid)


def _now(path: str) -> str:
    return os.readlink(path) if os.path.islink(path) else ""
