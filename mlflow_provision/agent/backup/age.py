"""Encryption by age (https://age-encryption.org/v1): a filter process in the Python that has pyrage."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from typing import Callable, Iterator

from mlflow_provision.agent.backup.channel import LOOK, Gone, raise_if
from mlflow_provision.agent.command import PR_SET_PDEATHSIG, SYSTEM_PATH
from mlflow_provision.agent.protocol import AgentError

_PIECE = 1 << 20
_WRONG_KEY, _DAMAGED = 3, 4  # exit codes of the program that decrypts
_NO_KEY = "No matching keys found"
_ENCRYPT = """
import sys
from pyrage import encrypt_io, x25519
encrypt_io(sys.stdin.buffer, sys.stdout.buffer, [x25519.Recipient.from_str(sys.argv[1])])
sys.stdout.flush()
"""
# The identity is its first line of input: arguments and environment can be read by others.
_DECRYPT = f"""
import sys
from pyrage import DecryptError, IdentityError, decrypt_io, x25519
try:
    identity = x25519.Identity.from_str(sys.stdin.buffer.readline().decode().strip())
    decrypt_io(sys.stdin.buffer, sys.stdout.buffer, [identity])
    sys.stdout.flush()
except IdentityError:
    sys.exit({_WRONG_KEY})
except DecryptError as error:
    sys.exit({_WRONG_KEY} if {_NO_KEY!r} in str(error) else {_DAMAGED})
except OSError:
    sys.exit({_DAMAGED})
"""
_PUBLIC = f"""
import sys
from pyrage import IdentityError, x25519
try:
    print(x25519.Identity.from_str(sys.stdin.readline().strip()).to_public())
except IdentityError:
    sys.exit({_WRONG_KEY})
"""


class WrongKey(AgentError):
    """There is no identity, or not the one that opens what is there."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "give the passphrase or the identity that it was encrypted for", "key")


class Undecipherable(AgentError):
    """It is no complete age file."""

    def __init__(self) -> None:
        super().__init__("it cannot be decrypted", kind="damaged")


class Filter:
    """A pipe through a process. It dies with us, and an end that nobody has asked for is never taken for one."""

    def __init__(self, python: str, program: str, arguments: list[str], first: bytes, stopping: Callable[[], bool]):
        self._stopping = stopping
        self._gone = threading.Event()
        self._ended = False
        self._process = _started(python, program, arguments)
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: S101 - all are pipes
        self._stdin, self._stdout, self._stderr = self._process.stdin, self._process.stdout, self._process.stderr
        os.set_blocking(self._stdin.fileno(), False)
        if first:
            self.write(first)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._stdin, select.POLLOUT)
        while view:
            self._check()
            if not poll.poll(LOOK * 1000):
                continue
            try:
                view = view[os.write(self._stdin.fileno(), view) :]
            except BlockingIOError:
                continue
            except OSError:
                raise Gone from None

    def end(self) -> None:
        self._ended = True
        self._stdin.close()

    def __iter__(self) -> Iterator[bytes]:
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        while True:
            self._check()
            if not poll.poll(LOOK * 1000):
                continue
            piece = os.read(self._stdout.fileno(), _PIECE)
            if not piece:
                break
            yield piece
        code = self._process.wait()
        self._check()
        if code:
            raise self._failure(code)
        if not self._ended:
            raise Gone

    def abandon(self) -> None:
        """End the process if it still runs. May be called twice, and by both ends."""
        self._gone.set()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Give back what is open, when neither end uses it any more."""
        self.abandon()
        for pipe in (self._stdin, self._stdout, self._stderr):
            pipe.close()

    def _check(self) -> None:
        raise_if(self._stopping)
        if self._gone.is_set():
            raise Gone

    def _failure(self, code: int) -> AgentError:
        return _failure(code, self._stderr.read())


def encrypting(recipient: str, python: str, stopping: Callable[[], bool]) -> Filter:
    """A pipe out of which comes an age file for the recipient."""
    return Filter(python, _ENCRYPT, [recipient], b"", stopping)


def decrypting(identity: str, python: str, stopping: Callable[[], bool]) -> Filter:
    """A pipe into which goes an age file. Raises WrongKey or Undecipherable."""
    return Filter(python, _DECRYPT, [], identity.encode() + b"\n", stopping)


def recipient_of(identity: str, python: str) -> str:
    """To whom one encrypts what this identity opens. Raises WrongKey for what is no identity."""
    process = _started(python, _PUBLIC, [])
    output, errors = process.communicate(identity.encode() + b"\n")
    if process.returncode:
        raise _failure(process.returncode, errors)
    return output.decode().strip()


def _started(python: str, program: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    try:
        return subprocess.Popen(
            [python, "-IBc", program, *arguments],
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    except OSError as error:
        message = f"the Python that encrypts backups cannot be started: {python}: {error.strerror}"
        raise AgentError(message, "run setup again: it installs what is missing", "encryption") from None


def _failure(code: int, errors: bytes) -> AgentError:
    if code == _WRONG_KEY:
        return WrongKey("this key does not fit")
    if code == _DAMAGED:
        return Undecipherable()
    if code == -signal.SIGKILL:
        return AgentError("the program that encrypts was killed", "look for out of memory in: sudo dmesg", "encryption")
    last = (errors.decode("utf-8", "replace").strip().splitlines() or [f"exit code {code}"])[-1]
    return AgentError(f"encryption by age failed: {last}", "run setup again: it renews the program", "encryption")
