"""Does a password fit its hash? Said here, so that nothing of MLflow needs to be imported to know."""

from __future__ import annotations

import hashlib
import hmac


def matches(password_hash: str, password: str) -> bool:
    """Check a Werkzeug password hash, `scrypt:N:r:p$salt$hex` or `pbkdf2:digest:iterations$salt$hex`."""
    try:
        method, salt, expected = password_hash.split("$", 2)
        name, *parameters = method.split(":")
        if name == "scrypt":
            n, r, p = map(int, parameters)
            computed = hashlib.scrypt(password.encode(), salt=salt.encode(), n=n, r=r, p=p, maxmem=132 * n * r * p)
        else:
            computed = hashlib.pbkdf2_hmac(parameters[0], password.encode(), salt.encode(), int(parameters[1]))
    except (ValueError, IndexError):  # no hash that Werkzeug makes
        return False
    return hmac.compare_digest(computed.hex(), expected)
