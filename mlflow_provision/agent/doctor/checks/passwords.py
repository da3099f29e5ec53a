"""Does anybody have a password that everybody knows?"""

from __future__ import annotations

import time

from mlflow_provision.agent.doctor.checks import users
from mlflow_provision.agent.doctor.finding import Finding, Skip, bad, counted, ok, some
from mlflow_provision.agent.doctor.patient import Patient
from mlflow_provision.agent.password_hash import matches

# The first one is what MLflow shipped for years; the others are those of guides, compose files and tired people.
KNOWN = ("password1234", "password", "admin", "mlflow", "changeme", "123456789012")
_BUDGET = 10.0  # seconds: each try costs as much as a login


def default(patient: Patient) -> Finding:
    """No user's password is a well-known one, or the user's own name."""
    found, tried = [], 0
    everybody = users.listed(patient)
    if not everybody:
        raise Skip("there are no users")
    end = time.monotonic() + _BUDGET
    for user in everybody:
        if time.monotonic() > end or patient.stopping():
            break
        tried += 1
        if any(matches(user.password_hash, guess) for guess in dict.fromkeys((*KNOWN, user.name))):
            found.append(user.name)
    if found:
        return bad(f"everybody can guess the password of {some(found, 5)}", users=found)
    left = len(everybody) - tried
    return ok(f"{counted(tried, 'user')} tried, none of them has one" + (f" ({left} more not tried)" if left else ""))
