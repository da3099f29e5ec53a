"""Everything of an upgrade that can be done while the old server runs: the new release beside the old one, and the
migration tried on copies of the databases."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, Iterator

from mlflow_provision.agent import release_program
from mlflow_provision.agent.apply import apply
from mlflow_provision.agent.names import GUARD
from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.release_version import mlflow_version
from mlflow_provision.agent.resources.file import replace
from mlflow_provision.agent.resources.release import STAMP
from mlflow_provision.agent.steps import Emit, step
from mlflow_provision.agent.upgrade import copies, files, look, safety
from mlflow_provision.agent.upgrade.copies import Copied
from mlflow_provision.agent.upgrade.copying import Stopping
from mlflow_provision.agent.upgrade.wanted import Wanted

CONFIG = "upgrade.ini"  # MLflow's users as the new release will have them


def rehearse(wanted: Wanted, operator: str, emit: Emit, stopping: Stopping) -> dict[str, Any]:
    """Try an upgrade on copies. The new release stays, and what it took to get there is remembered."""
    refuse(wanted)
    with config(wanted) as path:
        started = time.monotonic()
        copied = on_copies(wanted, path, copies.there(wanted.live, wanted.owner), emit, stopping)
        rest = time.monotonic() - started - sum(copied.seconds.values())
    found = {
        "release": os.path.basename(wanted.release),
        "schema": copied.schema,
        "seconds": {"install": round(rest, 2), **copied.seconds},
        "bytes": copied.bytes,
        "at": time.time(),
    }
    replace(f"{wanted.folder}/{look.REHEARSED}", json.dumps(found, indent=1) + "\n", 0o600)
    return {**found, "installed": True}


def refuse(wanted: Wanted) -> None:
    """Raise AgentError where nothing should be begun."""
    if not wanted.release:
        raise AgentError("this request does not say to which release")
    if not wanted.current:
        hint = f"set it up first: mlflow-provision setup {wanted.deployment}"
        raise AgentError(f"{wanted.deployment} is not set up on this host", hint)
    if os.path.exists(f"{wanted.folder}/{GUARD}"):
        hint = f"run it again, it goes on or back: mlflow-provision restore {wanted.deployment}"
        raise AgentError("a restore of this server was interrupted half-way", hint)


def on_copies(wanted: Wanted, path: str, paths: dict[str, str], emit: Emit, stopping: Stopping) -> Copied:
    """Install the release beside the one that runs, and bring copies of these databases to it. Nothing of them stays.
    `path`: the settings of MLflow's users for it."""
    copies.clean(wanted)
    copies.refuse_without_room(wanted, paths)
    apply(wanted.install, emit, stopping)
    if not os.path.exists(f"{wanted.release}/{STAMP}"):
        raise AgentError(f"there is no release {wanted.release}", "this is a bug of ours: please report it")
    safety.make_folders(wanted)
    if not release_program.imported(wanted.release):
        with step(emit, "import", f"first import of MLflow {wanted.version}"):
            release_program.first_import(wanted.release, path, stopping)
    try:
        return copies.while_it_runs(wanted, path, paths, emit, stopping)
    finally:
        copies.clean(wanted)


@contextlib.contextmanager
def config(wanted: Wanted) -> Iterator[str]:
    """basic_auth.ini as the wanted release has it, while the one in its place is still the old one's."""
    found = files.content(wanted.resources, wanted.config)
    if not found:
        yield wanted.config
        return
    safety.make_folders(wanted)
    path = f"{wanted.folder}/{CONFIG}"
    replace(path, found.content, found.mode, found.owner, found.group)
    try:
        yield path
    finally:
        Path(path).unlink(missing_ok=True)


def current(wanted: Wanted) -> dict[str, str]:
    """The release that runs, as a history has it."""
    return {"version": mlflow_version(wanted.venv), "release": os.path.basename(wanted.current)}
