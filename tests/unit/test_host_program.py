"""What is sent to a host: the same bytes each time, and a one-liner that every shell and every Python understands."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import Done, decode
from mlflow_provision.host.program import BOOTSTRAP, NOT_LINUX, OLD_PYTHON, PYTHON_FLAGS, READY, operator, pack, payload
from mlflow_provision.host.ssh import remote_command

FAKE_AGENT = Path(__file__).parent / "fake_agent"


def python(version: str) -> str:
    """An interpreter of this version, or the test is skipped."""
    managed = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    found = str(managed[0]) if managed else shutil.which(f"python{version}")
    if not found:
        pytest.skip(f"there is no Python {version} here")
    return found


def run(interpreter: str, sent: bytes, before: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [interpreter, PYTHON_FLAGS, "-c", before + BOOTSTRAP]
    return subprocess.run(command, input=sent, capture_output=True, timeout=20)


def test_the_zip_is_the_same_each_time() -> None:
    first = pack(FAKE_AGENT)
    pack.cache_clear()
    assert pack(FAKE_AGENT) == first


def test_the_zip_carries_the_package_under_its_real_name_and_no_bytecode() -> None:
    names = zipfile.ZipFile(io.BytesIO(pack())).namelist()
    assert {"mlflow_provision/__init__.py", "mlflow_provision/agent/protocol.py"} <= set(names)
    assert all(name.endswith(".py") for name in names)


def test_the_zip_is_made_once() -> None:
    assert pack(FAKE_AGENT) is pack(FAKE_AGENT)


def test_no_shell_finds_anything_to_expand() -> None:
    assert not set(BOOTSTRAP) & set("'\\!`$\n")
    assert remote_command().count("'") == 4
    assert not set(remote_command(with_password=True)) & set("\\!`\n")


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_it_runs(version: str) -> None:
    finished = run(python(version), payload("echo", {"name": "naïve 'quote' $(x)\n"}, FAKE_AGENT))
    lines = finished.stdout.decode().splitlines()
    assert lines[:2] == ["", READY], finished.stderr.decode()
    assert decode(lines[2]) == Done({"name": "naïve 'quote' $(x)\n"})
    assert finished.returncode == 0


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7", "3.8"])
def test_an_old_python_says_so(version: str) -> None:
    finished = run(python(version), payload("echo", {}, FAKE_AGENT))
    event = decode(finished.stdout.decode().splitlines()[-1])
    assert isinstance(event, Done)
    assert event.error
    assert event.error["kind"] == OLD_PYTHON
    assert event.error["message"].startswith(version)
    assert finished.returncode == 1
    assert finished.stderr == b""


def test_another_system_says_so() -> None:
    finished = run(sys.executable, payload("echo", {}, FAKE_AGENT), 'import sys; sys.platform = "darwin"; ')
    event = decode(finished.stdout.decode().splitlines()[-1])
    assert isinstance(event, Done)
    assert event.error
    assert event.error["kind"] == NOT_LINUX
    assert event.error["message"].endswith(" darwin")


def test_a_python_without_memfd(tmp_path: Path) -> None:
    finished = run(sys.executable, payload("echo", {"a": 1}, FAKE_AGENT), "import os; del os.memfd_create; ")
    assert decode(finished.stdout.decode().splitlines()[-1]) == Done({"a": 1}), finished.stderr.decode()


def test_a_password_that_sudo_did_not_take_is_skipped() -> None:
    finished = run(sys.executable, b"s3cret\n" + payload("echo", {"a": 1}, FAKE_AGENT))
    assert decode(finished.stdout.decode().splitlines()[-1]) == Done({"a": 1})
    assert b"s3cret" not in finished.stdout + finished.stderr


def test_a_module_in_the_current_folder_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("print('hijacked')")
    finished = subprocess.run(
        [sys.executable, PYTHON_FLAGS, "-c", BOOTSTRAP],
        input=payload("echo", {}, FAKE_AGENT),
        cwd=tmp_path,
        capture_output=True,
    )
    assert b"hijacked" not in finished.stdout


def test_the_request_says_who_asks() -> None:
    sent = payload("echo", {"x": 1}, FAKE_AGENT)
    header, rest = sent.split(b"\n", 1)
    _, program, request = header.split()
    assert zlib.decompress(rest[: int(program)]) == pack(FAKE_AGENT)
    assert json.loads(rest[int(program) :]) == {"verb": "echo", "data": {"x": 1}, "operator": operator()}
    assert len(rest) == int(program) + int(request)
    assert "@" in operator()
