"""Reading and writing known_hosts as OpenSSH does; `ssh-keygen` is the judge where it can be."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from mlflow_provision.host.known_hosts import KnownKey, fingerprint, known_keys, remember

BLOB = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIFlnjQgtjdrGDCrQyigs7k1ICOF2FRH0pIVmjf+dXBCg")
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()}"


def found(tmp_path: Path, name: str, *lines: str) -> list[KnownKey]:
    file = tmp_path / "known_hosts"
    file.write_text("\n".join(lines) + "\n")
    return known_keys(name, (file,))


@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        ("host.example.com", "host.example.com"),
        ("HOST.example.com", "host.Example.com"),
        ("host.example.com", "10.0.0.1,host.example.com"),
        ("host.example.com", "*.example.com"),
        ("host1", "host?"),
        ("[host]:2222", "[host]:2222"),
        ("[host]:2222", "[*]:2222"),
        ("host", "*,!other"),
    ],
)
def test_known(tmp_path: Path, name: str, patterns: str) -> None:
    assert found(tmp_path, name, "# a comment", "", f"{patterns} {KEY} somebody@somewhere") == [
        KnownKey("ssh-ed25519", BLOB, tmp_path / "known_hosts", 3)
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("host", f"other {KEY}"),
        ("host", f"[host]:2222 {KEY}"),
        ("[host]:2222", f"host {KEY}"),
        ("host", f"*,!host {KEY}"),
        ("h", f"[h] {KEY}"),
        ("host", f"# host {KEY}"),
        ("host", f"@cert-authority host {KEY}"),
        ("host", "host ssh-ed25519 not-base64"),
        ("host", "host ssh-ed25519"),
        ("host", f"|1|broken {KEY}"),
        ("host", f"|1|AAAA|BBBB {KEY}"),
    ],
)
def test_not_known(tmp_path: Path, name: str, line: str) -> None:
    assert found(tmp_path, name, line) == []


def test_revoked(tmp_path: Path) -> None:
    assert [key.revoked for key in found(tmp_path, "host", f"@revoked * {KEY}", f"host {KEY}")] == [True, False]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert known_keys("host", (tmp_path / "nothing", tmp_path)) == []


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("name", ["Host.example.com", "[host]:2222"])
def test_what_is_remembered_is_known_to_us_and_to_openssh(tmp_path: Path, name: str, hashed: bool) -> None:
    file = tmp_path / ".ssh" / "known_hosts"
    remember(name, "ssh-ed25519", BLOB, file, hashed)
    assert [key.blob for key in known_keys(name, (file,))] == [BLOB]
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    assert (name.lower() in file.read_text()) is not hashed
    if shutil.which("ssh-keygen"):
        # `ssh` looks for the name in lower case; `ssh-keygen` takes it as it is.
        command = ["ssh-keygen", "-F", name.lower(), "-f", str(file)]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        assert KEY in listed.stdout


def test_a_file_without_a_last_newline_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"other {KEY}")
    remember("host", "ssh-ed25519", BLOB, file)
    assert file.read_text() == f"other {KEY}\nhost {KEY}\n"


def test_fingerprint() -> None:
    assert fingerprint(BLOB) == "SHA256:UXgZzWRntFbFU1TmL608x8qFYYjCQKZYrBw9uy01so4"
