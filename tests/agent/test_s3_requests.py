"""What the wizard asks a host before anything is installed: its role, and whether it can use a bucket."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_provision.agent.protocol import AgentError, Event, Output
from mlflow_provision.agent.s3 import requests
from mlflow_provision.agent.s3.instance_role import NoInstanceRole
from mlflow_provision.agent.s3.signature import Credentials
from tests.agent.agent_process import AgentProcess
from tests.agent.fake_s3 import FakeS3, serve


def wanted(fake: FakeS3, **changed: Any) -> dict[str, Any]:
    data = {"destination": "s3://bucket/ml", "region": "us-east-1", "endpoint_url": fake.endpoint}
    keys = {"access_key_id": "AKIA", "secret_access_key": "CANARY-secret", "session_token": ""}
    return {**data, **keys, **changed}


def test_a_role_or_the_reason_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def known(url: str) -> tuple[str, Credentials]:
        asked.append(url)
        return "tracking", Credentials("ASIA", "CANARY", "CANARY")

    def unknown(url: str) -> tuple[str, Credentials]:
        raise NoInstanceRole("this EC2 instance has no instance role")

    monkeypatch.setattr(requests, "role_credentials", known)
    assert requests.role({"metadata_url": ""}) == {"role": "tracking", "reason": ""}
    assert requests.role({}) == {"role": "tracking", "reason": ""}
    assert asked == ["http://169.254.169.254"] * 2
    monkeypatch.setattr(requests, "role_credentials", unknown)
    assert requests.role({}) == {"role": "", "reason": "this EC2 instance has no instance role"}


def test_a_store_that_can_be_used() -> None:
    events: list[Event] = []
    with serve(FakeS3()) as fake:
        assert requests.store(wanted(fake), events.append) == {}
    assert [event.line for event in events if isinstance(event, Output)] == [
        f"{what}: ok" for what in ("delete", "put", "list", "get")
    ]
    assert fake.objects == {}


def test_everything_that_is_missing_is_told_at_once() -> None:
    with serve(FakeS3(denied={"PUT", "LIST"})) as fake, pytest.raises(AgentError) as caught:
        requests.store(wanted(fake), lambda event: None)
    assert caught.value.kind == "store"
    assert "s3:PutObject" in caught.value.message and "s3:ListBucket" in caught.value.message
    assert "CANARY" not in caught.value.message + caught.value.hint


def test_a_denied_put_alone_is_not_blamed_on_get_or_list() -> None:
    """With a condition on s3:prefix AWS answers a get of what is not there as if the list were denied."""
    fake = FakeS3(denied={"PUT"}, names_actions=True, lists_prefixes_only=True)
    with serve(fake), pytest.raises(AgentError) as caught:
        requests.store(wanted(fake), lambda event: None)
    lines = [line.strip() for line in caught.value.message.splitlines()[1:]]
    assert lines == [
        "s3:PutObject on arn:aws:s3:::bucket/ml/*",
        "and perhaps s3:GetObject on arn:aws:s3:::bucket/ml/*",
    ]


def test_both_are_verbs_of_the_agent() -> None:
    with serve(FakeS3()) as fake, AgentProcess("store", wanted(fake)) as agent:
        done = agent.answer()
        assert (done.data, done.error) == ({}, None)
        agent.ask("role", {"metadata_url": "http://127.0.0.1:9"})
        assert "not an EC2 instance" in agent.answer().data["reason"]
        agent.ask("store", wanted(fake, destination="s3://other/ml"))
        error = agent.answer().error
        assert error is not None and (error["kind"], "no such bucket" in error["message"]) == ("store", True)
