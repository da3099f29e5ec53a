"""Which lines of a log belong to an error: whole tracebacks with what announces them, and requests that got a 5xx."""

from __future__ import annotations

import re

from mlflow_provision.agent.logs.entry import Entry

_MOST = 400  # lines of one error; an exception may carry a page of SQL
_MESSAGE = 40  # lines of an exception's own words

# How MLflow, uvicorn, Flask, Alembic and huey begin a line of their log.
_RECORD = re.compile(
    r"\d{4}[/-]\d\d[/-]\d\d[ T]\d\d:\d\d:\d\d"
    r"|\[\d{4}-\d\d-\d\d[ T]"
    r"|(?:INFO|DEBUG|WARNING|ERROR|CRITICAL|TRACE)\b\s*[:\[]"
    r"|--- start "
)
_ERROR = re.compile(
    r"^(?:ERROR|CRITICAL|FATAL)\b"
    r"|^\S*[ T]?\d\d:\d\d:\d\d\S* (?:\[[^\]]*\] )?(?:ERROR|CRITICAL|FATAL)\b"
    r"|^\[[^\]]*\] (?:ERROR|CRITICAL|FATAL)\b"
    r"|^\[?\d{4}[^ ]* [\d:,.]+\]? (?:\[[^\]]*\] )*(?:ERROR|CRITICAL|FATAL)\b"
    r"|^Traceback \(most recent call last\):"
    r"|^\s*\+ Exception Group Traceback"
    r"|^Child process \[\d+\] died"
    r"|^(?:MemoryError|Killed|Segmentation fault|Fatal Python error)\b"
)
_REQUEST_FAILED = re.compile(r'" 5\d\d(?: |$)')
_REQUEST = re.compile(r' - "[A-Z]+ \S+ HTTP/')
_TRACEBACK = re.compile(r"^(?:Traceback \(most recent call last\):|\s*\+ Exception Group Traceback)")


class Errors:
    """Judges one line after the other, in the order in which they were written."""

    def __init__(self) -> None:
        self._length = 0  # of the error that is being read; 0: none is
        self._message = 0  # lines since the last one of a traceback's frames
        self._in_frames = False

    def judge(self, entry: Entry) -> tuple[bool, bool]:
        """Does the line belong to an error, and does it begin one?"""
        text = entry.text
        if not entry.ours:
            self._length = 0
            return entry.severe, entry.severe
        if self._length and self._continues(text):
            self._length += 1
            return True, False
        begins = entry.severe or bool(_ERROR.match(text)) or self._failed_request(text)
        self._length = 0
        if begins:
            self._length = 1
            self._message = 0
            self._in_frames = bool(_TRACEBACK.match(text))
        return begins, begins

    def _continues(self, text: str) -> bool:
        if self._length >= _MOST:
            return False
        if _TRACEBACK.match(text):
            self._in_frames, self._message = True, 0
            return True
        if text.startswith((" ", "\t")):
            self._message = 0 if self._in_frames else self._message
            return True
        if _RECORD.match(text) or _REQUEST.search(text):
            return False
        if not self._in_frames:
            return False
        # The exception itself, whose words may take several lines that look like nothing at all.
        self._message += 1
        return self._message <= _MESSAGE

    @staticmethod
    def _failed_request(text: str) -> bool:
        return bool(_REQUEST.search(text) and _REQUEST_FAILED.search(text))
