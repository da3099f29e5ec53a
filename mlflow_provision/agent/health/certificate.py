"""The certificate that this host shows to those who come over HTTPS."""

from __future__ import annotations

import base64
import contextlib
import socket
from typing import Any

from mlflow_provision.agent import sockets

_PORT = 443
_PATIENCE = 2.0  # seconds


def served(names: list[str]) -> dict[str, Any] | None:
    """For the first of these `names` that gets one on port 443: `{"name", "der"}` (base64). None: nothing of the kind.

    Nobody is asked but this host, and the certificate is not judged: an expired one is just what is looked for.
    """
    listening = sockets.listening_on(_PORT) if names else []
    if not listening:
        return None
    address = sockets.reached_at(listening[0].address)
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            der = _shown(address, name)
            if der:
                return {"name": name, "der": base64.b64encode(der).decode("ascii")}
    return None


def _shown(address: str, name: str) -> bytes | None:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = socket.create_connection((address, _PORT), timeout=_PATIENCE)
    with connection, context.wrap_socket(connection, server_hostname=name) as secure:
        return secure.getpeercert(binary_form=True)
