"""The log of a server: what it said, and what it goes on to say."""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from typing import Any, Callable, Iterable, Iterator, Tuple

from mlflow_provision.agent.home import expanded
from mlflow_provision.agent.logs.entry import Entry
from mlflow_provision.agent.logs.errors import Errors
from mlflow_provision.agent.logs.journal import Journal
from mlflow_provision.agent.logs.logfile import LogFile
from mlflow_provision.agent.logs.mask import Mask
from mlflow_provision.agent.protocol import AgentError, Event, Output

Emit = Callable[[Event], None]
Judged = Tuple[Entry, bool, bool]  # does it belong to an error, and does it begin one?

_PROBE = re.compile(r' - "GET /health HTTP/[\d.]+" 200')


def serve(data: dict[str, Any], operator: str, emit: Emit, stopping: Callable[[], bool]) -> dict[str, Any]:
    """The verb `logs`: an event for each line, `{"at", "line", "error", "first"}`; `at` is None where the log does not
    tell the time of a line, `first` begins an error. Returns how many there were.

    `ago`: seconds to look back, None for all of it; `lines`: at most so many, the newest, None for all; `errors`: only
    those, whole, and so rather more lines than fewer; `probes`: with the requests for /health that went well;
    `follow`: until somebody wants us to stop.
    """
    data = expanded(data)
    if not os.path.exists(data["record"]):
        raise AgentError("it is not set up on this host", "set it up: mlflow-provision setup NAME")
    source = Journal(data["unit"], stopping) if data["unit"] else LogFile(data["file"], stopping)
    since = None if data["ago"] is None else time.time() - data["ago"]
    shown = _Shown(emit, Mask(data["secrets"]), data["errors"], data["probes"])
    if data["errors"]:
        # What is an error is known only from what stands before a line, so all of it is read.
        shown.tell(_newest(shown.judged(source.history(since)), data["lines"]))
    elif data["lines"] is not None:
        shown.tell(shown.judged(source.newest(since, data["lines"], shown.counts)))
    else:
        shown.tell(shown.judged(source.history(since)))
    if data["follow"]:
        shown.tell(shown.judged(source.further()))
    return {"lines": shown.count}


class _Shown:
    """Judges line after line, and tells those that are wanted."""

    def __init__(self, emit: Emit, mask: Mask, errors_only: bool, probes: bool) -> None:
        self.count = 0
        self._emit = emit
        self._mask = mask
        self._errors = Errors()
        self._errors_only = errors_only
        self._probes = probes

    def counts(self, entry: Entry) -> bool:
        """A tunnel and `status` ask for /health all the time, and nobody wants to read that."""
        return self._probes or not _PROBE.search(entry.text)

    def judged(self, entries: Iterable[Entry]) -> Iterator[Judged]:
        for entry in filter(self.counts, entries):
            error, first = self._errors.judge(entry)
            if error or not self._errors_only:
                yield entry, error, first

    def tell(self, lines: Iterable[Judged]) -> None:
        for entry, error, first in lines:
            told = {"at": entry.at, "line": self._mask.applied(entry.text), "error": error, "first": first}
            self._emit(Output("log", json.dumps(told)))
            self.count += 1


def _newest(lines: Iterable[Judged], most: int | None) -> Iterator[Judged]:
    """The last so many of what belongs to errors, or more: an error comes whole, and its end alone tells nothing."""
    kept: deque[list[Judged]] = deque()
    count = 0
    for line in lines:
        if line[2] or not kept:
            kept.append([])
        kept[-1].append(line)
        count += 1
        while most is not None and count - len(kept[0]) >= most:
            count -= len(kept.popleft())
    for error in kept:
        yield from error
