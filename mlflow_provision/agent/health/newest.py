"""The newest MLflow that installs, as the package index has it: asked at most once a day, and never waited for long."""

from __future__ import annotations

import threading
import time
from typing import Any

from mlflow_provision.agent.health import notes
from mlflow_provision.agent.protocol import AgentError

_FRESH = 86400.0  # seconds
_AGAIN = 3600.0  # after an index that did not answer
_PATIENCE = 2.5  # seconds that `status` waits for it
_PROJECTS = ("mlflow", "mlflow-skinny", "mlflow-tracing")  # one pins the others, and is there before they are


class Question:
    """For several deployments at once: `pairs` of an index and the file of notes. An index is asked once for all."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        self._began = time.monotonic()
        self._known = {path: notes.newest(path) for _, path in pairs}
        self._threads: dict[str, threading.Thread] = {}

    def ask(self) -> None:
        """Begin to ask whom there is to ask."""
        urls = {url for url, path in self._pairs if _due(self._known[path], url, time.time())}
        if urls:
            from mlflow_provision.agent import index  # noqa: F401 - imported once, before there are threads
        for url in urls:
            self._threads[url] = threading.Thread(target=self._answer, args=(url,), daemon=True)
            self._threads[url].start()

    def answers(self) -> dict[str, str]:
        """File of notes → version; "" while it is not known."""
        for url, thread in self._threads.items():
            thread.join(max(0.0, _PATIENCE - (time.monotonic() - self._began)))
            if thread.is_alive():
                self._note(url, "")  # what comes later is noted all the same, if we are still there
        return {path: _version(self._known[path], url) for url, path in self._pairs}

    def _answer(self, url: str) -> None:
        from mlflow_provision.agent.index import published

        try:
            versions, _ = published(url, _PROJECTS)
        except (AgentError, OSError, ValueError):
            versions = []
        self._note(url, versions[0] if versions else "")

    def _note(self, url: str, version: str) -> None:
        for own, path in self._pairs:
            if own != url:
                continue
            before = _version(self._known[path], url)
            self._known[path] = {
                "index": url,
                "version": version or before,
                "failed": not version,
                "asked": int(time.time()),  # never in the future
            }
            notes.keep_newest(path, self._known[path])


def _due(known: dict[str, Any], url: str, now: float) -> bool:
    if known.get("index") != url or not isinstance(known.get("asked"), (int, float)):
        return True
    age = now - float(known["asked"])
    return not 0 <= age < (_AGAIN if known.get("failed") else _FRESH)


def _version(known: dict[str, Any], url: str) -> str:
    return str(known.get("version") or "") if known.get("index") == url else ""
