"""`mlflow_provision.connect()`, in a script or a notebook."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mlflow_provision
from mlflow_provision import connecting
from mlflow_provision.config import Deployment, secrets_path
from mlflow_provision.tunnel import Opened
from tests.unit.conftest import PASSWORD, CommandLine
from tests.unit.test_cli_process import HEAVY

URL = "http://127.0.0.1:5077"
NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


class FakeWay(Opened):
    """A way to a deployment that tells when it is closed, and when nobody holds it any more."""

    log: list[str]

    def close(self) -> None:
        self.log.append("close")

    def __del__(self) -> None:
        self.log.append("forgotten")


@pytest.fixture
def log(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was opened and closed; one deployment, `prod`, behind a tunnel."""
    log: list[str] = []

    def opened(deployment: Deployment, path: Path, local_port: int | None = None) -> Opened:
        log.append(f"open {deployment.name} {local_port}")
        way = FakeWay(URL, 5077, started_here=True)
        way.log = log
        return way

    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    monkeypatch.setattr(connecting, "opened", opened)
    monkeypatch.setattr(connecting, "_connections", [])
    command_line.known("prod")
    return log


def login() -> list[str | None]:
    return [os.environ.get(name) for name in NAMES]


def test_within_a_block(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    with mlflow_provision.connect("prod") as connection:
        assert login() == [URL, "admin", PASSWORD]
        assert (str(connection), connection.uri, connection.username) == (URL, URL, "admin")
        assert isinstance(connection, str) and connection == URL
        assert PASSWORD not in repr(connection) + str(vars(connection))
    assert login() == ["http://elsewhere", None, None]
    assert log[:2] == ["open prod None", "close"]


def test_an_error_in_the_block_is_the_callers(log: list[str]) -> None:
    with pytest.raises(ZeroDivisionError), mlflow_provision.connect("prod"):
        _ = 1 / 0
    assert login() == [None, None, None] and "close" in log


def test_a_plain_call_lasts_although_nobody_keeps_what_it_returns(log: list[str]) -> None:
    mlflow_provision.connect()
    gc.collect()
    assert login() == [URL, "admin", PASSWORD]
    assert log == ["open prod None"]
    (connection,) = connecting._connections
    connection.close()
    connection.close()
    assert login() == [None, None, None] and log[1] == "close"


def test_one_within_another(log: list[str], command_line: CommandLine) -> None:
    command_line.known("other", password="CANARY-another-password")
    with mlflow_provision.connect("prod"):
        with mlflow_provision.connect("other", local_port=6001):
            assert login()[2] == "CANARY-another-password"
        assert login()[2] == PASSWORD
    assert "open other 6001" in log


def test_errors_are_provision_errors(log: list[str], command_line: CommandLine) -> None:
    with pytest.raises(mlflow_provision.ProvisionError, match="there is no deployment 'prdo'") as caught:
        mlflow_provision.connect("prdo")
    assert caught.value.hint
    secrets_path(command_line.known("prod")).unlink()
    with pytest.raises(mlflow_provision.ProvisionError, match="is not known on this machine"):
        mlflow_provision.connect("prod")
    assert "close" in log and login() == [None, None, None]


class FakeMLflow(ModuleType):
    """Keeps a tracking URI as MLflow does: its own word before the environment's, and written into it."""

    told = ""

    def set_tracking_uri(self, uri: str) -> None:
        self.told = uri
        if uri:
            os.environ["MLFLOW_TRACKING_URI"] = uri
        else:
            os.environ.pop("MLFLOW_TRACKING_URI", None)

    def get_tracking_uri(self) -> str:
        return self.told or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"

    def is_tracking_uri_set(self) -> bool:
        return bool(self.told or os.environ.get("MLFLOW_TRACKING_URI"))


@pytest.mark.parametrize(("told", "variable"), [("", None), ("", "http://b"), ("http://a", None), ("http://a", "x")])
def test_an_mlflow_that_was_imported_before_is_told(
    log: list[str], monkeypatch: pytest.MonkeyPatch, told: str, variable: str | None
) -> None:
    mlflow = FakeMLflow("mlflow")
    mlflow.set_tracking_uri(told)
    if variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    before = (mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI"))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    with mlflow_provision.connect("prod"):
        assert mlflow.get_tracking_uri() == URL
    assert (mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")) == before


def run(code: str) -> str:
    """A Python of its own, which has imported nothing yet."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import mlflow_provision; print(*(set(sys.modules) - before))"
    loaded = {name for name in run(code).split() if not name.startswith("_")}
    assert {name for name in loaded if name.startswith("mlflow")} == {"mlflow_provision"}
    assert not {name.partition(".")[0] for name in loaded}.intersection({*HEAVY, "click", "subprocess", "json"})


def test_the_package_says_what_it_exports() -> None:
    code = "import mlflow_provision as m; print(*(getattr(m, name) is not None for name in m.__all__))"
    assert set(run(code).split()) == {"True"}
    with pytest.raises(AttributeError, match="has no attribute 'conect'"):
        _ = mlflow_provision.conect
