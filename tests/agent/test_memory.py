"""Memory of a group of processes."""

from __future__ import annotations

import os
import subprocess
import sys

from mlflow_provision.agent.memory import proportional

EAT = "x = bytearray(b'x') * (64 << 20); print('fed', flush=True); import sys; sys.stdin.read()"


def test_what_a_process_takes_is_counted() -> None:
    with subprocess.Popen([sys.executable, "-c", EAT], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        assert 64 << 20 <= proportional([child.pid]) < 128 << 20
        assert proportional([child.pid, os.getpid()]) > proportional([child.pid])
        child.stdin.close()


def test_what_is_gone_takes_nothing() -> None:
    assert proportional([]) == 0
    assert proportional([2**22 + 1]) == 0
