"""The names of AWS, as one host sees them: its S3 over HTTPS is a server of the lab."""

from __future__ import annotations

import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab import LabHost, MotoS3
from tests.lab.s3 import REGION

CA = "/usr/local/share/ca-certificates/lab-aws.crt"
MANAGER = "/etc/systemd/system.conf.d/lab-aws.conf"  # boto3 brings its own CAs, and takes others from the environment
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


def names_of(bucket: str) -> list[str]:
    """Where AWS has a bucket, and the store itself."""
    return [f"{bucket}.s3.{REGION}.amazonaws.com", f"{bucket}.s3.amazonaws.com", f"s3.{REGION}.amazonaws.com"]


@contextmanager
def aws_away(host: LabHost, bucket: str) -> Iterator[None]:
    """Within the block the host looks for the bucket next door; unless `aws_at` serves it there, nobody answers."""
    hosts = host.path("/etc/hosts")
    known = hosts.read_text()
    hosts.write_text(f"{known}{host.network.gateway} {' '.join(names_of(bucket))}\n")
    try:
        yield
    finally:
        hosts.write_text(known)


@contextmanager
def aws_at(host: LabHost, server: MotoS3, bucket: str) -> Iterator[None]:
    """Within `aws_away`: `server` answers for AWS."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = _certificate(Path(folder), names_of(bucket))
        host.path(CA).write_bytes(certificate.read_bytes())
        host.path(MANAGER).parent.mkdir(parents=True, exist_ok=True)
        host.path(MANAGER).write_text(f"[Manager]\nDefaultEnvironment=AWS_CA_BUNDLE={BUNDLE}\n")
        _take_effect(host)
        try:
            with _forwarding(host.network.gateway, certificate, server.endpoint.removeprefix("http://")):
                yield
        finally:
            host.path(CA).unlink()
            host.path(MANAGER).unlink()
            _take_effect(host)


def _take_effect(host: LabHost) -> None:
    host.run(["update-ca-certificates", "--fresh"])
    host.run(["systemctl", "daemon-reload"])


def _certificate(folder: Path, names: list[str]) -> Path:
    """A certificate that vouches for itself, and its key, in one file."""
    path = folder / "both.pem"
    key = folder / "key.pem"
    alternatives = ",".join(f"DNS:{name}" for name in names)
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab"]
    argv += ["-addext", f"subjectAltName={alternatives}", "-keyout", str(key), "-out", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@contextmanager
def _forwarding(address: str, certificate: Path, to: str) -> Iterator[None]:
    """Takes HTTPS at `address`, and passes on what is inside."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server((address, 443)) as listener:
        threading.Thread(target=_serve, args=(listener, context, to), daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, context: ssl.SSLContext, to: str) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # the block has ended
            return
        threading.Thread(target=_pass_on, args=(connection, context, to), daemon=True).start()


def _pass_on(connection: socket.socket, context: ssl.SSLContext, to: str) -> None:
    name, _, port = to.partition(":")
    with (
        suppress(OSError),
        context.wrap_socket(connection, server_side=True) as inside,
        socket.create_connection((name, int(port))) as behind,
    ):
        answers = threading.Thread(target=_copy, args=(behind, inside), daemon=True)
        answers.start()
        _copy(inside, behind)
        answers.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
