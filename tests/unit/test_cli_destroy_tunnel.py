"""A server that is gone leaves no tunnel to nowhere."""

from __future__ import annotations

import pytest

from mlflow_provision import tunnel
from mlflow_provision.tunnel import opening
from tests.unit.conftest import CommandLine


@pytest.mark.parametrize("runs", [True, False])
def test_the_tunnel_ends_with_its_server(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    ended: list[object] = []
    status = object()
    monkeypatch.setattr(tunnel, "running_on", lambda deployment: status if runs else None)
    monkeypatch.setattr(opening, "stopped", ended.append)
    command_line.known("server")
    result = command_line.run("destroy", "server", "--yes")
    assert result.exit_code == 0, result.output
    assert ended == ([status] if runs else [])
