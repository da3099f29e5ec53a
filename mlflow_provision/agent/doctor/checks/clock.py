"""Does the host's clock agree with that of the store? S3 refuses what was signed fifteen minutes off."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

from mlflow_provision.agent import command
from mlflow_provision.agent.doctor import aws
from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, ok, warn
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.http import Client, NoAnswer

_BAD, _ODD = 300.0, 60.0  # seconds


def clock(patient: Patient) -> Finding:
    """The host's time is the store's, to the minute."""
    if not patient.destination.startswith("s3://"):
        raise Skip("artifacts are in a folder: there is no store whose clock could be asked")
    used = aws.found(patient.environment)
    suffix = ".cn" if used.region.startswith("cn-") else ""
    url = used.endpoint_url or f"https://s3.{used.region or 'us-east-1'}.amazonaws.com{suffix}"
    ahead = _ahead_of(url)
    synchronized = command.capture(["timedatectl", "show", "--property=NTPSynchronized", "--value"], 5.0).strip()
    data = {"seconds": round(ahead, 1), "synchronized": synchronized == "yes"}
    words = f"the host's clock is {_amount(ahead)} {'ahead of' if ahead > 0 else 'behind'} that of {url}"
    if abs(ahead) > _BAD:
        return bad(words, **data)
    return warn(words, **data) if abs(ahead) > _ODD else ok(f"{words} ({abs(ahead):.0f} s)", **data)


def _ahead_of(url: str) -> float:
    """Seconds; raises Skip where the store does not say its time."""
    try:
        before = time.time()
        try:
            response = Client(url).call("GET", "/")
        except NoAnswer as error:
            # A clock that is off by years makes every certificate invalid: ask without one.
            if error.kind != "tls":
                raise
            response = Client(url.replace("https://", "http://", 1)).call("GET", "/")
        now = (before + time.time()) / 2
    except NoAnswer as error:
        raise Skip(f"the store does not answer: {error}") from None
    try:
        return now - parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        raise Skip(f"{url} does not say what time it is") from None


def _amount(seconds: float) -> str:
    seconds = abs(seconds)
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return "less than two minutes"
