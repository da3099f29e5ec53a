"""What uv says when it cannot install, and what we make of it. The messages are those of uv 0.13.8."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.release import Release
from tests.agent.fake_uv import FakeUv

HALF_PUBLISHED = """\
Using Python 3.11.7 environment at: v
error: No solution found when resolving dependencies
  cause: Because there is no version of mlflow-skinny==3.18.0 and mlflow>=3.18.0 depends on mlflow-skinny==3.18.0, \
we can conclude that mlflow>=3.18.0 cannot be used.
         And because you require mlflow[auth]==3.18.0, we can conclude that your requirements are unsatisfiable."""

NO_SUCH_VERSION = """\
Using Python 3.11.7 environment at: v
error: No solution found when resolving dependencies
  cause: Because there is no version of mlflow[auth]==3.99.1 and you require mlflow[auth]==3.99.1, we can conclude \
that your requirements are unsatisfiable."""

DISK_FULL = """\
Resolved 3 packages in 371ms
Prepared 3 packages in 449ms
error: Failed to install: greenlet-3.5.6-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl (greenlet==3.5.6)
  cause: Failed to copy to `/opt/mlflow/releases/3.17.2/lib/python3.11/site-packages/greenlet/greenlet_msvc_compat.hpp`
  cause: failed to copy file from /var/cache/uv/greenlet_msvc_compat.hpp to /opt/mlflow/.tmp2orTlb: \
No space left on device (os error 28)"""

CACHE_FULL = """\
error: Failed to write to the client cache
  cause: failed to write to file `/var/cache/uv/simple-v27/.tmpGsdZ0r`: No space left on device (os error 28)"""

NO_PYTHON = """\
error: No interpreter found for Python >=3.15, <3.16 in search path or managed installations

hint: A managed Python download is available for Python >=3.15, <3.16, but Python downloads are set to 'never'"""

NO_WAY_TO_PYTHON = """\
error: Request failed after 3 retries in 7.8s
  cause: Failed to download `https://host.example/python-build-standalone/releases/download/20261110/cpython-3.14.10.tar.gz`
  cause: error sending request for url (https://host.example/python-build-standalone/releases/cpython-3.14.10.tar.gz)
  cause: client error (Connect)
  cause: tcp connect error
  cause: Connection refused (os error 111)"""

NO_NETWORK = """\
Using Python 3.11.7 environment at: v
error: Failed to fetch: https://mirror.example/simple/mlflow/
  cause: error sending request for url (https://mirror.example/simple/mlflow/)
  cause: client error (Connect)
  cause: dns error
  cause: error resolving DNS
  cause: failed to lookup address information: Name or service not known"""

BAD_CERTIFICATE = """\
error: Request failed after 3 retries in 5.0s
  cause: Failed to fetch: https://mirror.example/simple/mlflow/
  cause: error sending request for url (https://mirror.example/simple/mlflow/)
  cause: client error (Connect)
  cause: invalid peer certificate: UnknownIssuer"""


def explained(message: str, folder: Path) -> AgentError:
    uv = FakeUv(folder / "bin")
    uv.fail(message)
    release = Release("r", str(folder / "r"), str(uv.path), ("mlflow[auth]==3.18.0",), (), ">=3.10", str(folder / "p"))
    with pytest.raises(AgentError) as caught:
        release.apply(Context())
    return caught.value


@pytest.mark.parametrize(
    ("message", "kind", "says", "hint"),
    [
        (HALF_PUBLISHED, "version", "there is no version of mlflow-skinny==3.18.0", "--mlflow-version"),
        (NO_SUCH_VERSION, "version", "there is no version of mlflow[auth]==3.99.1", "--mlflow-version"),
        (DISK_FULL, "disk", "the disk is full", "free about 1.5 GB"),
        (CACHE_FULL, "disk", "the disk is full", "free about 1.5 GB"),
        (NO_PYTHON, "python", "no Python that MLflow supports", "install Python 3.10"),
        (NO_WAY_TO_PYTHON, "python", "no Python that MLflow supports", "install Python 3.10"),
        (NO_NETWORK, "index", "https://mirror.example/simple/mlflow/", "--index-url"),
        (BAD_CERTIFICATE, "index", "UnknownIssuer", "--index-url"),
        ("error: Failed to build `pyarrow`\n  cause: cmake not found", "install", "cmake not found", "fix the cause"),
        ("", "install", "installing mlflow[auth]==3.18.0 failed", "fix the cause"),
    ],
)
def test_the_reason_and_the_way_out(tmp_path: Path, message: str, kind: str, says: str, hint: str) -> None:
    error = explained(message, tmp_path)
    assert error.kind == kind
    assert says in error.message
    assert hint in error.hint


def test_the_reason_of_a_missing_version_is_one_sentence_without_ornaments(tmp_path: Path) -> None:
    message = explained(HALF_PUBLISHED, tmp_path).message
    assert "\n" not in message
    assert "  " not in message
    assert "Using Python" not in message
    assert message.startswith("the package index has no set of packages for mlflow[auth]==3.18.0: Because there is no")


def test_the_reasons_of_a_failed_download_are_one_line(tmp_path: Path) -> None:
    assert explained(NO_NETWORK, tmp_path).message == (
        "uv could not download mlflow[auth]==3.18.0: Failed to fetch: https://mirror.example/simple/mlflow/; "
        "error sending request for url (https://mirror.example/simple/mlflow/); client error (Connect); dns error; "
        "error resolving DNS; failed to lookup address information: Name or service not known"
    )


def test_a_very_long_failure_is_cut_to_its_end(tmp_path: Path) -> None:
    message = explained("\n".join(f"line {number}" for number in range(200)), tmp_path).message
    assert "line 199" in message
    assert len(message.splitlines()) <= 16
