"""The trial of `verify --client`: its verdicts, its proof that no cloud key is near, and what it takes away."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mlflow_provision.agent.protocol import FAILED, OK, SKIPPED, Result, decode
from mlflow_provision.client_check import check as check_module
from mlflow_provision.client_check.check import check, environment
from mlflow_provision.client_check.trial import removal
from mlflow_provision.client_check.trial.telling import Checks, Failed
from mlflow_provision.client_check.trial.work import PREFIX

FOLDER = str(Path(check_module.__file__).parent)
CANARY = "CANARY-password-of-the-admin"


def results(stream: io.StringIO) -> dict[str, Result]:
    events = [decode(line) for line in stream.getvalue().splitlines()]
    return {event.step: event for event in events if isinstance(event, Result)}


def fails() -> str:
    raise Failed(f"it said {CANARY}")


class TestVerdicts:
    def test_each_is_told_and_what_needs_a_failed_one_is_not_tried(self) -> None:
        stream = io.StringIO()
        checks = Checks(stream, CANARY)
        checks.run("a", "works", lambda: "fine")
        checks.run("b", "fails", fails, ["a"])
        checks.run("c", "waits", lambda: pytest.fail("tried"), ["a", "b"])
        checks.run("d", "breaks", lambda: str(1 / 0))
        told = results(stream)
        assert [told[step].verdict for step in "abcd"] == [OK, FAILED, SKIPPED, FAILED]
        assert told["b"].summary == "it said ********" and "ZeroDivisionError" in told["d"].summary
        assert told["c"].summary == 'not tried, because "fails" did not pass'
        assert CANARY not in stream.getvalue()

    def test_ctrl_c_goes_through_after_the_verdict(self) -> None:
        stream = io.StringIO()

        def interrupted() -> str:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Checks(stream, "").run("a", "is long", interrupted)
        assert results(stream)["a"].verdict == SKIPPED

    def test_nobody_listening_is_no_reason_to_stop(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        tried: list[str] = []

        def goes_on() -> str:
            tried.append("yes")
            return ""

        with open(writer, "w", closefd=False) as stream:
            Checks(stream, "").run("a", "goes on", goes_on)
            os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # what is in its buffer may go
        os.close(writer)
        assert tried == ["yes"]


def alone(code: str, home: Path, **variables: str) -> str:
    """What the trial says of itself, in a process as it will have."""
    program = "import sys; sys.path.insert(0, sys.argv[1])\nfrom trial.alone import Connections, holds_no_key\n"
    program += (
        "from trial.telling import Failed\ntry:\n    print(" + code + ")\nexcept Failed as f:\n    print('NO:', f)"
    )
    kept = {**environment({}, str(home)), **variables}
    finished = subprocess.run([sys.executable, "-c", program, FOLDER], env=kept, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


class TestNoKey:
    def test_none_gets_into_its_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS"):
            monkeypatch.setenv(name, "canary")
        assert alone("holds_no_key()", tmp_path).startswith("none in its environment or home")

    @pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "GOOGLE_APPLICATION_CREDENTIALS"])
    def test_one_in_its_environment_is_seen(self, tmp_path: Path, name: str) -> None:
        assert alone("holds_no_key()", tmp_path, **{name: "canary"}) == f"NO: there is {name} in its environment\n"

    def test_one_in_its_home_is_seen(self, tmp_path: Path) -> None:
        (tmp_path / ".aws").mkdir()
        assert alone("holds_no_key()", tmp_path) == "NO: its home has .aws\n"

    def test_one_that_only_boto3_finds_is_seen(self, tmp_path: Path) -> None:
        (tmp_path / "botocore").mkdir()
        (tmp_path / "botocore" / "__init__.py").touch()
        session = "class Session:\n    def get_credentials(self):\n        return object()\n"
        (tmp_path / "botocore" / "session.py").write_text(session)
        assert alone("holds_no_key()", tmp_path, PYTHONPATH=str(tmp_path)) == "NO: boto3 finds credentials\n"


class TestAlone:
    @pytest.fixture
    def ports(self) -> Any:
        """Two programs that listen on this machine."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as stranger:
            yield server.getsockname()[1], stranger.getsockname()[1]

    def asked(self, home: Path, url: str, *connected: int) -> str:
        connect = f"[__import__('socket').create_connection(('127.0.0.1', p)).close() for p in {list(connected)}]"
        return alone(f"(lambda c: ({connect}, c.only_to({url!r}))[1])(Connections())", home)

    def test_only_the_server(self, tmp_path: Path, ports: tuple[int, int]) -> None:
        assert self.asked(tmp_path, f"http://127.0.0.1:{ports[0]}", ports[0]) == f"127.0.0.1:{ports[0]}\n"

    def test_somebody_else(self, tmp_path: Path, ports: tuple[int, int]) -> None:
        said = self.asked(tmp_path, f"http://127.0.0.1:{ports[0]}", *ports)
        assert said == f"NO: it also connected to 127.0.0.1:{ports[1]}\n"

    def test_nobody_at_all_proves_nothing(self, tmp_path: Path) -> None:
        assert self.asked(tmp_path, "http://127.0.0.1:5000") == "NO: no connection was seen at all\n"


class FakeServer:
    """What is on a server, for MlflowClient and the artifact store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone: list[str] = []
        self.stubborn: set[str] = set()
        self.models: list[Any] = []
        self.experiments: list[Any] = []
        registry = ModuleType("mlflow.store.artifact.artifact_repository_registry")
        vars(registry)["get_artifact_repository"] = self._store
        mlflow = ModuleType("mlflow")
        vars(mlflow)["MlflowClient"] = lambda: self
        for module in (mlflow, registry):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        for name in ("mlflow.store", "mlflow.store.artifact"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))

    def has(self, name: str, number: str, age: float) -> None:
        """An experiment of that age, in seconds, with a run and a model that is registered."""
        made = int((time.time() - age) * 1000)
        place = f"mlflow-artifacts:/{number}"
        experiment = SimpleNamespace(name=name, experiment_id=number, creation_time=made, artifact_location=place)
        self.experiments.append(experiment)
        self.models.append(SimpleNamespace(name=name, creation_timestamp=made))

    def search_registered_models(self, query: str) -> list[Any]:
        return self.models

    def search_experiments(self, filter_string: str) -> list[Any]:
        return self.experiments

    def search_logged_models(self, numbers: list[str]) -> list[Any]:
        place = f"mlflow-artifacts:/{numbers[0]}/models/m-{numbers[0]}/artifacts"
        return [SimpleNamespace(model_id=f"m-{numbers[0]}", artifact_location=place)]

    def search_runs(self, numbers: list[str]) -> list[Any]:
        run = f"run{numbers[0]}"
        place = f"mlflow-artifacts:/{numbers[0]}/{run}/artifacts"
        return [SimpleNamespace(info=SimpleNamespace(run_id=run, artifact_uri=place))]

    def delete_registered_model(self, name: str) -> None:
        self.gone.append(f"registered {name}")

    def delete_logged_model(self, number: str) -> None:
        self.gone.append(number)

    def delete_experiment(self, number: str) -> None:
        self.gone.append(f"experiment {number}")

    def _store(self, uri: str) -> Any:
        kept = [SimpleNamespace(path="kept")]
        return SimpleNamespace(
            delete_artifacts=lambda: self.gone.append(uri),
            list_artifacts=lambda: kept if uri in self.stubborn else [],
        )


class TestRemoval:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
        return FakeServer(monkeypatch)

    mine, older, younger = (PREFIX + digit * 16 for digit in "0ab")

    def test_all_of_it_goes_the_experiment_last(self, server: FakeServer) -> None:
        server.has(self.mine, "7", age=5)
        assert "stay marked deleted until `mlflow gc`" in removal.remove(self.mine)
        assert server.gone == [
            f"registered {self.mine}",
            "mlflow-artifacts:/7/models/m-7",
            "m-7",
            "mlflow-artifacts:/7/run7",
            "mlflow-artifacts:/7/models",
            "mlflow-artifacts:/7",
            "experiment 7",
        ]

    def test_what_was_there_before_us_in_the_store_stays(self, server: FakeServer) -> None:
        server.has(self.mine, "7", age=5)
        server.stubborn = {"mlflow-artifacts:/7", "mlflow-artifacts:/7/models"}
        removal.remove(self.mine)
        assert "experiment 7" in server.gone and not server.stubborn.intersection(server.gone)

    def test_trials_that_were_killed_and_nothing_else(self, server: FakeServer) -> None:
        server.has(self.mine, "7", age=5)
        server.has(self.older, "5", age=2 * 3600)
        server.has(self.younger, "6", age=60)
        server.has(PREFIX + "of-somebody", "4", age=9 * 3600)
        assert "also those of 1 earlier trials" in removal.remove(self.mine)
        assert {"experiment 7", "experiment 5"} <= set(server.gone)
        assert not {"experiment 6", "experiment 4", f"registered {self.younger}"}.intersection(server.gone)

    def test_what_the_store_keeps_is_told_and_left_for_the_next_time(self, server: FakeServer) -> None:
        server.has(self.mine, "7", age=5)
        server.stubborn = {"mlflow-artifacts:/7/run7"}
        with pytest.raises(Failed, match="run7: the store still has kept"):
            removal.remove(self.mine)
        assert "experiment 7" not in server.gone

    def test_nothing(self, server: FakeServer) -> None:
        assert removal.remove(self.mine) == "nothing to remove"


def test_an_interrupted_trial_is_told_once_and_waited_for(tmp_path: Path) -> None:
    python = tmp_path / "python"
    event = json.dumps({"event": "start", "step": "a", "title": "a"})
    python.write_text(
        f"#!{sys.executable}\nimport signal, sys, time\ncount = []\n"
        "signal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
        f"print({event!r}, flush=True)\nwhile not count: time.sleep(0.01)\ntime.sleep(0.5)\n"
        f"open({str(tmp_path / 'cleaned')!r}, 'w').write(str(len(count)))\n"
    )
    python.chmod(0o755)
    with pytest.raises(KeyboardInterrupt):
        for _ in check(python, {}):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert (tmp_path / "cleaned").read_text() == "1"
