"""Do clients get at artifacts through the server, and at all of them?"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow_provision.agent.as_user import as_user
from mlflow_provision.agent.databases import TRACKING
from mlflow_provision.agent.databases.contents import PLACES, TRACE_PLACE, columns
from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, counted, ok, some, warn
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.http import NoAnswer
from mlflow_provision.agent.verify.answers import unexpected
from mlflow_provision.agent.verify.checks import ServerError
from mlflow_provision.agent.verify.log import ServerLog
from mlflow_provision.agent.verify.tracking import ARTIFACTS

_PROXIED = "mlflow-artifacts:"
_SIZE = 256 << 10
_PATIENCE = 60.0  # seconds: the server itself waits for its store
PROBE = ".mlflow-provision-doctor-"
_BUDGET = 5.0  # seconds of counting
_STEPS = 100_000
_ROOT = re.compile(r"--default-artifact-root[= ](\S+)")
_WORDS = {
    "experiments": "experiment",
    "runs": "run",
    "logged_models": "logged model",
    "model_versions": "model version",
    "workspaces": "workspace",
    "trace_tags": "trace",
}


def proxy_mode(patient: Patient) -> Finding:
    """New experiments get locations that go through the server."""
    environment = patient.environment
    lines = " ".join(patient.command_lines)
    serves = environment.get("_MLFLOW_SERVER_SERVE_ARTIFACTS") or environment.get("MLFLOW_SERVE_ARTIFACTS") or "true"
    if serves.lower() in ("false", "0") or "--no-serve-artifacts" in lines:
        return bad(
            "the server runs with --no-serve-artifacts: it hands out no artifacts, and takes none",
            **_way_out(patient, "MLFLOW_SERVE_ARTIFACTS"),
        )
    said = _ROOT.search(lines)
    root = said[1] if said else environment.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "")
    root = root or environment.get("_MLFLOW_SERVER_ARTIFACT_ROOT", "")
    if root and not root.startswith(_PROXIED):
        return bad(
            f"new experiments get {root}: clients must reach that themselves, with keys of their own",
            cause="The server runs with --default-artifact-root, or MLFLOW_DEFAULT_ARTIFACT_ROOT.",
            root=root,
            **_way_out(patient, "MLFLOW_DEFAULT_ARTIFACT_ROOT"),
        )
    return ok(f"new experiments get {root or _PROXIED + '/'}: artifacts go through the server")


def _way_out(patient: Patient, variable: str) -> dict[str, Any]:
    """Our own files are put right by a setup; what else sets it must be found by a person."""
    start = Path(patient.files["start_script"])
    with contextlib.suppress(OSError):
        if variable in patient.configured or "artifact" in start.read_text("utf-8", "replace"):
            return {"fix": "apply"}
    if not patient.unit:
        return {}
    remedy = f"Find what sets {variable} (systemctl cat {patient.unit}), remove it, then mlflow-provision restart NAME"
    return {"remedy": remedy, "no_fix": True}


def roundtrip(patient: Patient) -> Finding:
    """A file goes through the server into its store and comes back the same. No row is written for it."""
    if not patient.server.password:
        raise Skip("the administrator's password is not known on the operator's machine")
    client, folder = patient.server.client, PROBE + secrets.token_hex(8)
    path, body = f"{ARTIFACTS}/{quote(folder)}/probe.bin", os.urandom(_SIZE)
    log = ServerLog(patient.server)
    stored, started = False, time.time()
    try:
        began = time.monotonic()
        response = client.call("PUT", path, body=body, timeout=_PATIENCE)
        if response.status != 200:
            raise unexpected(response, "200 for an upload")
        stored = True
        digest = hashlib.sha256()
        response = client.call("GET", path, sink=digest.update, timeout=_PATIENCE)
        if response.status != 200:
            raise unexpected(response, "200 for a download")
        if digest.digest() != hashlib.sha256(body).digest():
            return bad("what came back differs from what was uploaded (sha256)")
        seconds = time.monotonic() - began
    except NoAnswer as error:
        return bad(str(error))
    except ServerError as reason:
        return bad(": ".join(part for part in (str(reason), log.last_exception()) if part))
    except Exception as reason:
        return bad(str(reason))
    finally:
        left = _removed(patient, folder) if stored else ""
        patient.provoked.append((started, time.time() + 0.5))
    if left:
        return warn(f"up and down work, but {folder} cannot be deleted again: {left}", paths=[folder])
    return ok(f"{_SIZE >> 10} KiB up and down in {seconds:.1f} s, and removed again")


def _removed(patient: Patient, folder: str) -> str:
    """Why the file is still there; "" when it is gone."""
    client = patient.server.client
    try:
        response = client.call("DELETE", f"{ARTIFACTS}/{quote(folder)}", timeout=_PATIENCE)
        if response.status != 200:
            return str(unexpected(response, "200 for a deletion"))
        # MLflow does not read S3's answer to a deletion, in which every object may have been denied.
        response = client.call("GET", ARTIFACTS, query={"path": folder}, timeout=_PATIENCE)
        still = response.status == 200 and response.json().get("files")
        return "the store still has it, though the server says that it is deleted" if still else ""
    except (NoAnswer, ValueError) as error:
        return str(error)


def old_uris(patient: Patient) -> Finding:
    """Nothing in the tracking database says that artifacts are somewhere that clients must reach themselves."""
    path = patient.databases[TRACKING]
    found: dict[str, Any] = as_user(patient.user, lambda: _counted(path))
    counts, places = found["counts"], found["places"]
    if not counts:
        return ok("every location goes through the server" + ("" if found["whole"] else " (as far as was counted)"))
    words = ", ".join(counted(number, _WORDS[table]) for table, number in counts.items())
    listed = sorted(places, key=lambda place: -places[place])
    return warn(
        f"{words}: artifacts outside of the server's proxy, in {some(listed)}; "
        "clients need keys of their own for them, or the same disk",
        counts=counts,
        places=places,
        examples=found["examples"],
    )


def _counted(path: str) -> dict[str, Any]:
    """How many rows of each table have such a location, and which places those are."""
    counts: dict[str, int] = {}
    places: dict[str, int] = {}
    examples: list[str] = []
    end = time.monotonic() + _BUDGET
    whole = True
    with contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=10)) as connection:
        connection.set_progress_handler(lambda: int(time.monotonic() > end), _STEPS)
        try:
            for table, number, places_here in _rows(connection):
                if number:
                    counts[table] = counts.get(table, 0) + number
                for uri, times in places_here:
                    place = _place(uri)
                    places[place] = places.get(place, 0) + times
                    examples += [uri] if len(examples) < 3 else []
        except sqlite3.OperationalError as error:
            if "interrupted" not in str(error):
                raise
            whole = False
    return {"counts": counts, "places": places, "examples": examples, "whole": whole}


def _rows(connection: sqlite3.Connection) -> Any:
    for table, names in {**PLACES, "trace_tags": ("value",)}.items():
        there = columns(connection, table)
        wanted = [name for name in names if name in there]
        if not wanted:
            continue
        extra = f"key = '{TRACE_PLACE}' AND " if table == "trace_tags" else ""
        outside = " OR ".join(f"({_outside(name)})" for name in wanted)
        query = f'SELECT count(*) FROM "{table}" WHERE {extra}({outside})'  # noqa: S608 - names of ours
        number = connection.execute(query).fetchone()[0]
        listed = []
        if number:
            for name in wanted:
                query = f'SELECT "{name}" FROM "{table}" WHERE {extra}{_outside(name)} LIMIT 200'  # noqa: S608
                listed += [(str(row[0]), 1) for row in connection.execute(query)]
        yield table, number, listed


def _outside(name: str) -> str:
    """SQL: has this column a location that does not go through a server? `models:/` and `runs:/` lead to others."""
    inside = (_PROXIED, "models:/", "runs:/")
    return f"\"{name}\" != '' AND " + " AND ".join(f"\"{name}\" NOT LIKE '{start}%'" for start in inside)


def _place(uri: str) -> str:
    """The bucket, or the folder above experiments and runs."""
    parts = urlsplit(uri)
    if parts.scheme and parts.scheme != "file":
        return f"{parts.scheme}://{parts.netloc}"
    match = re.match(r"(.*?/mlruns|.*?/mlartifacts|(?:/[^/]+){1,3})", parts.path)
    return match[1] if match else parts.path
