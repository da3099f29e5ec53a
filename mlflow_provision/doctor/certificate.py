"""For how long is a certificate valid?"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timezone
from typing import Any

from mlflow_provision.doctor.finding import BAD, OK, UNKNOWN, WARN, Finding, found

SOON = 7.0  # days left: whoever renews it had weeks
LATE = 21.0  # days left: most are renewed with 30 to go


def judged(data: dict[str, Any], now: datetime | None = None) -> Finding:
    """`data` has the certificate as the host found it: `der` in base64, and `where`."""
    where = str(data.get("where") or "the certificate")
    try:
        first, last = _validity(base64.b64decode(data["der"], validate=True))
    except (ValueError, binascii.Error, TypeError) as error:
        return found("certificate", UNKNOWN, f"{where} cannot be read: {error}")
    now = now or datetime.now(timezone.utc)
    left = (last - now).total_seconds() / 86400
    if first > now:
        return found("certificate", BAD, f"{where} is valid from {first:%Y-%m-%d %H:%M} UTC on, not before")
    if left < 0:
        return found("certificate", BAD, f"{where} was valid until {last:%Y-%m-%d %H:%M} UTC")
    verdict = BAD if left < SOON else WARN if left < LATE else OK
    return found("certificate", verdict, f"{where} is valid until {last:%Y-%m-%d}, {left:.0f} more days")


def _validity(der: bytes) -> tuple[datetime, datetime]:
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(der)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc
