"""What has the server failed at lately, and why?"""

from __future__ import annotations

import re
import time
from collections import Counter

from mlflow_provision.agent.doctor.checks.artifacts import PROBE
from mlflow_provision.agent.doctor.finding import Finding, ago, bad, counted, ok, warn
from mlflow_provision.agent.doctor.journal import Line
from mlflow_provision.agent.doctor.patient import Patient

_WINDOW = 3600.0  # seconds that are looked at
_NOW = 900.0  # an error of these last seconds is one of today's
_FAILED = re.compile(r'"(?P<what>[A-Z]+ [^ ?"]+)[^"]*" 5\d\d\b')
_STORE = ("store", "artifact-roundtrip")
# The checks that have tried by now what this cause is about.
_TRIED = {
    "clock": _STORE,
    "credentials": _STORE,
    "store": _STORE,
    "disk": ("disk", "inodes", "artifact-roundtrip"),
    "locked": ("database-locked",),
    "damaged": ("database-readable",),
    "schema": ("database-schema",),
    "permissions": ("files-owner", "artifact-roundtrip", "database-locked"),
    "package": ("venv-broken", "artifact-roundtrip"),
}
_TRACEBACK = "Traceback (most recent call last)"
_LONGEST = 300

# In the order in which they are tried: cause, what gives it away, what it means.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        "clock",
        r"RequestTimeTooSkewed|request time and the current time is too large",
        "The host's clock is wrong, and S3 refuses it.",
    ),
    (
        "credentials",
        r"NoCredentials|PartialCredentials|Partial credentials|Unable to locate credentials|ProfileNotFound|"
        r"config profile .* could not be found|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|"
        r"InvalidClientTokenId|CredentialRetrievalError",
        "The server has no credentials for its store, or wrong ones.",
    ),
    (
        "store",
        r"botocore\.|boto3\.|AccessDenied|NoSuchBucket|EndpointConnectionError|S3UploadFailedError|ClientError|"
        r"artifact_repo|RequestsHTTPError|google\.cloud|azure\.",
        "The server cannot use its artifact store.",
    ),
    (
        "disk",
        r"No space left on device|disk I/O error|database or disk is full|Errno 28|Errno 122",
        "The disk is full, or broken.",
    ),
    ("locked", r"database is locked", "Something else keeps the database for itself."),
    (
        "damaged",
        r"database disk image is malformed|file is not a database",
        "The database is damaged.",
    ),
    (
        "schema",
        r"out-of-date database schema|no such (?:table|column)|Can't locate revision|has no column named",
        "The database does not have the schema that this MLflow wants.",
    ),
    (
        "permissions",
        r"Permission denied|Errno 13|readonly database|Read-only file system|unable to open database file",
        "The server may not read or write its own files.",
    ),
    ("memory", r"MemoryError|Cannot allocate memory|Errno 12\b", "Memory has run out."),
    ("package", r"ModuleNotFoundError|ImportError|No module named", "A package is missing in the server's Python."),
    (
        "default-permission",
        r"Invalid permission|INVALID_PARAMETER_VALUE.*permission",
        "default_permission in basic_auth.ini has a value that MLflow does not know.",
    ),
)


def server_errors(patient: Patient) -> Finding:
    """No request has failed, and no exception was written, in the last hour or since the server was started."""
    since = max(time.time() - _WINDOW, _started(patient))
    lines = [line for line in patient.journal.again() if line.at >= since and not _ours(line, patient)]
    failed = [match for line in lines if (match := _FAILED.search(line.text))]
    exceptions = _exceptions(lines)
    if not failed and not exceptions:
        return ok(
            f"no error in its log {'within an hour' if since < time.time() - _WINDOW + 60 else 'since it was started'}"
        )
    causes = Counter(_cause(line.text) for line in exceptions)
    moments = [line.at for line in lines if _FAILED.search(line.text)] + [line.at for line in exceptions]
    last = exceptions[-1].text.strip()[:_LONGEST] if exceptions else f"{failed[-1]['what']}"
    words = []
    if failed:
        words.append(f"{counted(len(failed), 'request')} ended with a server error")
    if exceptions:
        words.append(f"{counted(len(exceptions), 'exception')} in its log")
    main = next((name for name, _ in causes.most_common() if name != "other"), "other")
    data = {"causes": dict(causes), "last": last, "requests": len(failed)}
    meaning = next((sentence for name, _, sentence in _CAUSES if name == main), "")
    # What can be tried has been tried by now: where it works again, this is only a trace of it.
    over = all(patient.verdicts.get(check) == "ok" for check in _TRIED.get(main, ("nothing",)))
    finding = warn if over or time.time() - max(moments) > _NOW else bad
    return finding(
        f"{' and '.join(words)} in the last hour, the last {ago(time.time() - max(moments))}: {last}",
        **data,
        **({"cause": meaning} if meaning else {}),
    )


def _ours(line: Line, patient: Patient) -> bool:
    return PROBE in line.text or any(start <= line.at <= end for start, end in patient.provoked)


def _started(patient: Patient) -> float:
    """When the server that runs was started; what an earlier one failed at may have been mended since."""
    if patient.unit:
        moment = int(patient.unit_state["ActiveEnterTimestampMonotonic"] or 0) / 1e6
        return time.time() - (time.monotonic() - moment) if moment else 0.0
    seconds = float(patient.service.status()["seconds"])
    return time.time() - seconds if seconds else 0.0


def _exceptions(lines: list[Line]) -> list[Line]:
    """The last line of every traceback; of a chain that of the last one, which is what ended the request."""
    found: list[Line] = []
    inside = chained = group = False
    for line in lines:
        text = line.text
        if "above exception was the direct cause" in text or "another exception occurred" in text:
            chained, inside, group = not inside and not group, False, False  # one in a group was not noted
        elif "Exception Group Traceback" in text:
            group = True
        elif text.startswith(_TRACEBACK):
            inside = True
        elif inside and text.strip() and not text.startswith((" ", "|", "+")):
            if chained and found:
                found.pop()
            inside = chained = False
            found.append(line)
    return found


def _cause(text: str) -> str:
    return next((name for name, pattern, _ in _CAUSES if re.search(pattern, text, re.IGNORECASE)), "other")
