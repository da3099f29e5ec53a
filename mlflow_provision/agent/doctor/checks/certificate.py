"""The certificates that people and the server itself meet on their way: handed over as they are, to be judged."""

from __future__ import annotations

import base64
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from mlflow_provision.agent import sockets
from mlflow_provision.agent.doctor import aws
from mlflow_provision.agent.doctor.finding import BAD, OK, Finding, Skip
from mlflow_provision.agent.doctor.patient import Patient

_SECONDS = 5.0
_HTTPS = 443


def certificate(patient: Patient) -> list[Finding]:
    """One finding for each: HTTPS in front of the server at its names, and that of a store of one's own."""
    wanted = [(name, address, _HTTPS) for name in patient.data["names"] for address in _answering()]
    endpoint = urlsplit(aws.found(patient.environment).endpoint_url)
    if endpoint.scheme == "https" and endpoint.hostname:
        wanted.append((endpoint.hostname, endpoint.hostname, endpoint.port or 443))
    found = []
    for name, address, port in wanted:
        der = _presented(name, address, port)
        if der:
            found.append(_finding(name, address, port, der))
    if not found:
        raise Skip("no HTTPS here: the server is reached through a tunnel, or over HTTP")
    return found


def _answering() -> list[str]:
    """Where this host itself reaches what listens for HTTPS; [] when nothing does."""
    return [sockets.reached_at(listener.address) for listener in sockets.listening_on(_HTTPS)[:1]]


def _finding(name: str, address: str, port: int, der: bytes) -> Finding:
    where = f"{name}:{port}"
    data: dict[str, Any] = {"where": where, "der": base64.b64encode(der).decode()}
    problem = _problem(name, address, port)
    if problem:
        return Finding(BAD, f"{where}: {problem}", {**data, "problem": problem})
    return Finding(OK, f"{where}: this host trusts its certificate", data)


def _presented(name: str, address: str, port: int) -> bytes:
    """The certificate in DER, valid or not; b"" where nobody speaks TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _connected(context, name, address, port) as connection:
            return connection.getpeercert(binary_form=True) or b""
    except OSError:
        return b""


def _problem(name: str, address: str, port: int) -> str:
    """What OpenSSL has against it."""
    try:
        with _connected(ssl.create_default_context(), name, address, port):
            return ""
    except ssl.SSLCertVerificationError as error:
        return str(error.verify_message)
    except OSError as error:
        return error.strerror or str(error)


def _connected(context: ssl.SSLContext, name: str, address: str, port: int) -> ssl.SSLSocket:
    plain = socket.create_connection((address, port), timeout=_SECONDS)
    try:
        return context.wrap_socket(plain, server_hostname=name.strip("[]"))
    except BaseException:
        plain.close()
        raise
