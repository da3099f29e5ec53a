"""What people can read through a server's own API: taken of the old one, and asked of ours."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any, Callable, Iterator
from urllib.parse import quote

from mlflow_provision.agent.http import Client, NoAnswer
from mlflow_provision.agent.protocol import AgentError

_API = "/api/2.0/mlflow/"
_AT_ONCE = 100  # experiments of one search
_PAGE = 500  # runs of one answer
_LISTED_RUNS = 100  # runs whose artifacts are listed one by one
_LISTING = 60.0  # seconds for that
_READ_FILES = 20  # files among those that are read byte for byte
_LARGEST_READ = 8 << 20
_DOWNLOADED = 1 << 30  # bytes of copied artifacts that are downloaded again at most
_MOST_DOWNLOADS = 1000
_TIMEOUT = 60.0


class Unreadable(Exception):
    """The server does not let us read, and why."""


def readable(client: Client, stopping: Callable[[], bool]) -> dict[str, Any]:
    """Everything that can be listed: `experiments` {id: name}, `runs` {id: [parameters, metrics]}, `models` names,
    and for up to 100 runs `artifacts` {run: {path: size}} with `files` {run/path: sha256}. Raises Unreadable."""
    experiments = {
        one["experiment_id"]: one["name"] for one in _pages(client, "experiments/search", {"view_type": "ALL"})
    }
    runs = {}
    ids = sorted(experiments)
    for start in range(0, len(ids), _AT_ONCE):
        wanted = {"experiment_ids": ids[start : start + _AT_ONCE], "run_view_type": "ALL"}
        for run in _pages(client, "runs/search", wanted):
            _unless(stopping)
            data = run.get("data", {})
            runs[run["info"]["run_id"]] = [len(data.get("params", [])), len(data.get("metrics", []))]
    models = [one["name"] for one in _pages(client, "registered-models/search", {})]
    return {"experiments": experiments, "runs": runs, "models": sorted(models)}


def with_artifacts(client: Client, found: dict[str, Any], stopping: Callable[[], bool]) -> dict[str, Any]:
    """The same with the artifacts of some runs: up to 100, spread evenly, or as many as a minute is enough for; and up
    to 20 of their files. (A server without a cache for passwords takes a third of a second for each folder.)"""
    deadline = time.monotonic() + _LISTING
    listed: dict[str, dict[str, int]] = {}
    files: dict[str, str] = {}
    for run in spread(sorted(found["runs"]), _LISTED_RUNS):
        _unless(stopping)
        if time.monotonic() > deadline:
            break
        listed[run] = artifacts(client, run)
        for path, size in sorted(listed[run].items()):
            if len(files) < _READ_FILES and size <= _LARGEST_READ:
                files[f"{run}/{path}"] = artifact_sha256(client, run, path)
    return {**found, "artifacts": listed, "files": files}


def artifacts(client: Client, run: str, path: str = "", depth: int = 0) -> dict[str, int]:
    """Every artifact of a run: path → size in bytes."""
    query = {"run_id": run, **({"path": path} if path else {})}
    found: dict[str, int] = {}
    for entry in _answer(client, "GET", "artifacts/list", query=query).get("files", []):
        if entry.get("is_dir") and depth < 20:
            found.update(artifacts(client, run, entry["path"], depth + 1))
        elif not entry.get("is_dir"):
            found[entry["path"]] = int(entry.get("file_size") or 0)
    return found


def artifact_sha256(client: Client, run: str, path: str) -> str:
    """The sha256 of an artifact as the server gives it."""
    return _downloaded(client, "/get-artifact", {"run_uuid": run, "path": path})


def copied_sha256(client: Client, relative: str) -> str:
    """The sha256 of what is at this path below the server's artifacts, through its proxy."""
    return _downloaded(client, "/api/2.0/mlflow-artifacts/artifacts/" + quote(relative), {})


def lost(before: dict[str, Any], client: Client, stopping: Callable[[], bool]) -> list[str]:
    """What the old server showed and ours does not, in words."""
    now = readable(client, stopping)
    found = []
    for number, name in before["experiments"].items():
        if number not in now["experiments"]:
            found.append(f"the experiment {name}")
    for run, (parameters, metrics) in before["runs"].items():
        if run not in now["runs"]:
            found.append(f"the run {run}")
        elif now["runs"][run][0] < parameters or now["runs"][run][1] < metrics:
            found.append(f"parameters or metrics of the run {run}")
    found += [f"the model {name}" for name in before["models"] if name not in now["models"]]
    for run, files in before.get("artifacts", {}).items():
        _unless(stopping)
        there = artifacts(client, run) if run in now["runs"] else {}
        found += [f"{path} of the run {run}" for path, size in files.items() if there.get(path) != size]
    for name, sha256 in before.get("files", {}).items():
        run, _, path = name.partition("/")
        if artifact_sha256(client, run, path) != sha256:
            found.append(f"the bytes of {path} of the run {run}")
    return found


def wrong_copies(client: Client, copied: dict[str, Any], stopping: Callable[[], bool]) -> tuple[list[str], int]:
    """Copied artifacts whose bytes our server does not give back, and how many were downloaded: all of them up to
    1 GB and 1000 files, else as many as that, spread evenly."""
    chosen, total = [], 0
    for relative in spread(sorted(copied), _MOST_DOWNLOADS):
        if total + copied[relative][0] <= _DOWNLOADED:
            total += copied[relative][0]
            chosen.append(relative)
    wrong = []
    for relative in chosen:
        _unless(stopping)
        if copied_sha256(client, relative) != copied[relative][1]:
            wrong.append(relative)
    return wrong, len(chosen)


def spread(items: list[str], most: int) -> list[str]:
    """At most so many of them, from all over."""
    return items if len(items) <= most else [items[number * len(items) // most] for number in range(most)]


def _pages(client: Client, path: str, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every item of a search, however many answers it takes. The items are under the one key that holds a list."""
    token = ""
    while True:
        if path.startswith("registered"):
            query = {"max_results": "100", **({"page_token": token} if token else {})}
            answer = _answer(client, "GET", path, query=query)
        else:
            size = {"max_results": _PAGE, **({"page_token": token} if token else {})}
            answer = _answer(client, "POST", path, data={**wanted, **size})
        for value in answer.values():
            if isinstance(value, list):
                yield from value
        token = str(answer.get("next_page_token") or "")
        if not token:
            return


def _answer(client: Client, method: str, path: str, **request: Any) -> dict[str, Any]:
    pieces: list[bytes] = []
    try:
        response = client.call(method, _API + path, sink=pieces.append, timeout=_TIMEOUT, **request)
    except NoAnswer as error:
        raise Unreadable(str(error)) from None
    if response.status != 200:
        raise Unreadable(f"{path} answers {response.status}")
    try:
        data = json.loads(b"".join(pieces) or b"{}")
    except ValueError:
        raise Unreadable(f"{path} answers something else than JSON") from None
    return data if isinstance(data, dict) else {}


def _downloaded(client: Client, path: str, query: dict[str, str]) -> str:
    digest = hashlib.sha256()
    try:
        response = client.call("GET", path, query=query or None, sink=digest.update, timeout=_TIMEOUT)
    except NoAnswer as error:
        return str(error)
    return digest.hexdigest() if response.status == 200 else f"answer {response.status}"


def _unless(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise AgentError("stopped while the two servers were compared", kind="interrupted")
