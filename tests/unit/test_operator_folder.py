"""A folder of the operator's machine answers a host that is not trusted."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from mlflow_provision.agent.protocol import AgentError, Ask
from mlflow_provision.errors import ProvisionError
from mlflow_provision.host.replies import to
from mlflow_provision.operator_folder import OperatorFolder


@pytest.fixture
def folder(tmp_path: Path) -> OperatorFolder:
    return OperatorFolder(tmp_path / "backups", "server")


def ask(folder: OperatorFolder, op: str, **arguments: Any) -> dict[str, Any]:
    return folder("store", {"place": folder.place, "op": op, **arguments})


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def put(folder: OperatorFolder, key: str, content: bytes) -> None:
    writer = ask(folder, "begin", key=key)["writer"]
    ask(folder, "write", writer=writer, data=coded(content))
    ask(folder, "finish", writer=writer)


def test_an_object_goes_and_comes(folder: OperatorFolder, tmp_path: Path) -> None:
    put(folder, "id/part", b"content")
    assert (tmp_path / "backups" / "server" / "id" / "part").read_bytes() == b"content"
    assert ask(folder, "piece", key="id/part", offset=3) == {"data": coded(b"tent"), "size": 7}
    ((key, size, _),) = ask(folder, "list", prefix="", after="")["entries"]
    assert (key, size) == ("id/part", 7)
    assert ask(folder, "list", prefix="", after="id/part") == {"entries": []}
    ask(folder, "delete", keys=["id/part"])
    assert ask(folder, "list", prefix="", after="") == {"entries": []}


def test_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(OperatorFolder(Path("~/backups"), "server"), "id/part", b"x")
    assert (tmp_path / "backups" / "server" / "id" / "part").exists()


def test_what_a_request_did_not_finish_goes_when_it_is_over(folder: OperatorFolder, tmp_path: Path) -> None:
    for key in ("id/one", "id/two"):
        ask(folder, "write", writer=ask(folder, "begin", key=key)["writer"], data=coded(b"half"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()]
    folder.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    folder.close()


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("shell", {"op": "list", "prefix": "", "after": ""}),
        ("store", {"op": "sweep"}),
        ("store", {"op": "__class__"}),
        ("store", {"op": "list"}),
        ("store", {"op": "list", "prefix": "", "after": "", "folder": "/"}),
        ("store", {"op": "list", "prefix": "../", "after": ""}),
        ("store", {"op": "list", "prefix": "/etc/", "after": ""}),
        ("store", {"op": "list", "prefix": "", "after": "", "place": "/etc"}),
        ("store", {"op": "list", "prefix": "", "after": 1, "place": "/etc"}),
        ("store", {"op": "begin", "key": "../../evil"}),
        ("store", {"op": "begin", "key": ["a"]}),
        ("store", {"op": "piece", "key": "/etc/passwd", "offset": 0}),
        ("store", {"op": "piece", "key": "id/part", "offset": -1}),
        ("store", {"op": "piece", "key": "id/part", "offset": 0, "size": 1 << 40}),
        ("store", {"op": "delete", "keys": ["../x"]}),
        ("store", {"op": "delete", "keys": "id/part"}),
        ("store", {"op": "write", "writer": 7, "data": ""}),
        ("store", {"op": "finish", "writer": "x"}),
        ("store", {}),
        ("", {}),
    ],
)
def test_a_host_that_asks_for_more_gets_nothing(
    folder: OperatorFolder, tmp_path: Path, call: str, arguments: dict[str, Any]
) -> None:
    put(folder, "id/part", b"content")
    (tmp_path / "backups" / "x").write_text("of somebody else")
    (tmp_path / "backups" / "server" / "id" / "deeper").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AgentError):
        folder(call, {"place": folder.place, **arguments})
    assert sorted(tmp_path.rglob("*")) == before


def test_errors_speak_of_this_machine(folder: OperatorFolder, tmp_path: Path) -> None:
    (tmp_path / "backups").write_text("no folder")
    with pytest.raises(AgentError) as caught:
        ask(folder, "begin", key="id/part")
    assert caught.value.message.startswith("on this machine, not on the host: ")
    assert str(tmp_path / "backups") in caught.value.message and "on the host" not in caught.value.hint


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (AgentError("what", "do", "kind"), ["what", "do", "kind"]),
        (ProvisionError("what", "do"), ["what", "do", "failed"]),
    ],
)
def test_an_error_becomes_a_reply(error: Exception, told: list[str]) -> None:
    import json

    def reply(call: str, arguments: dict[str, Any]) -> dict[str, Any]:
        raise error

    assert json.loads(to(Ask("store", {}, "7"), reply)) == {"id": "7", "reply": {}, "error": told}


def test_the_system_s_errors_become_a_reply() -> None:
    import json

    def reply(call: str, arguments: dict[str, Any]) -> dict[str, Any]:
        raise FileNotFoundError(2, os.strerror(2), "/x")

    message, hint, kind = json.loads(to(Ask("store", {}, "7"), reply))["error"]
    assert message == "on the operator's machine: No such file or directory: /x" and hint and kind == "failed"


def test_nobody_to_ask() -> None:
    assert b"nobody here can answer" in to(Ask("store", {}, "7"), None)
