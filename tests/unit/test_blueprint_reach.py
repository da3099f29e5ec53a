"""By which names the server lets people in, matched as MLflow itself does it."""

from __future__ import annotations

import fnmatch
from urllib.parse import urlparse

import pytest

from mlflow_provision.blueprint import verify_request
from mlflow_provision.blueprint.reach import allowed_hosts, allowed_origins, is_loopback
from mlflow_provision.config import Deployment, Secrets
from tests.unit.hosts import LOCAL, OPEN, facts, server

OVER_IPV6 = server(host="ssh://ada@[2001:db8::9]:2222", mlflow={"listen": "::"})


# The two functions of mlflow/server/security_utils.py (3.17.2), for a POST.
def is_allowed_host_header(allowed: list[str], host: str) -> bool:
    return any(fnmatch.fnmatch(host, name) if "*" in name else host == name for name in allowed)


def should_block_cors_request(origin: str, allowed: list[str]) -> bool:
    if urlparse(origin).hostname in ("localhost", "127.0.0.1", "[::1]", "::1"):
        return False
    return not any(fnmatch.fnmatch(origin, name) if "*" in name else origin == name for name in allowed)


def lets_in(deployment: Deployment, host: str) -> bool:
    return is_allowed_host_header(allowed_hosts(deployment, facts(deployment)).split(","), host)


def lets_post(deployment: Deployment, origin: str) -> bool:
    origins = allowed_origins(deployment, facts(deployment))
    return not should_block_cors_request(origin, origins.split(",") if origins else [])


LOOPBACK = ["localhost", "localhost:5000", "localhost:5001", "127.0.0.1", "127.0.0.1:49152", "[::1]", "[::1]:5000"]
STRANGERS = [
    "evil.example",
    "evil.example:5000",
    "localhost.evil.example",
    "localhost.evil.example:5000",
    "127.0.0.1.evil.example",
    "xlocalhost",
    "evil.example/localhost:5000",
    ":",
    "1:5000",
]


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("deployment", [LOCAL, server(), OPEN, OVER_IPV6])
def test_through_a_tunnel_it_is_reached_on_any_port(deployment: Deployment, host: str) -> None:
    assert lets_in(deployment, host)
    assert lets_post(deployment, f"http://{host}")


@pytest.mark.parametrize("host", STRANGERS)
@pytest.mark.parametrize("deployment", [LOCAL, server(), OPEN, OVER_IPV6])
def test_strangers_stay_out(deployment: Deployment, host: str) -> None:
    assert not lets_in(deployment, host)
    assert not lets_post(deployment, f"http://{host}")
    assert not lets_post(deployment, f"https://{host}")


@pytest.mark.parametrize("host", ["mlflow.example.org", "mlflow.example.org:5000", "10.0.0.7:5000", "ip-10-0-0-7:5000"])
def test_a_server_behind_a_tunnel_has_no_other_names(host: str) -> None:
    assert not lets_in(server(), host)
    assert not lets_post(server(), f"http://{host}")
    assert allowed_origins(server(), facts(server())) == ""


@pytest.mark.parametrize(
    "host",
    [
        "mlflow.example.com",  # said by the operator
        "mlflow.example.org:8080",  # where the operator reaches it over SSH
        "ip-10-0-0-7:8080",
        "10.0.0.7:8080",
        "[2001:db8::7]:8080",
        "[2001:db8::7]",
    ],
)
def test_a_server_for_others_has_the_names_of_its_host(host: str) -> None:
    assert lets_in(OPEN, host)
    assert lets_post(OPEN, f"http://{host}")
    assert lets_post(OPEN, f"https://{host}")  # behind a proxy that encrypts


def test_a_name_that_is_allowed_is_not_the_end_of_another() -> None:
    for host in ("mlflow.example.com.evil.example", "evil-mlflow.example.com", "mlflow.example.comx:80"):
        assert not lets_in(OPEN, host)
        assert not lets_post(OPEN, f"http://{host}")


def test_no_pattern_lets_everything_in() -> None:
    for deployment in (LOCAL, server(), OPEN, OVER_IPV6):
        for pattern in (
            *allowed_hosts(deployment, facts()).split(","),
            *allowed_origins(deployment, facts()).split(","),
        ):
            assert pattern != "*"
            assert pattern.rstrip(":*").strip("htps:/") or not pattern


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("mlflow.example.org", "mlflow.example.org"),
        ("ubuntu@mlflow.example.org", "mlflow.example.org"),
        ("ssh://ubuntu@mlflow.example.org:2222", "mlflow.example.org"),
        ("ssh://mlflow.example.org", "mlflow.example.org"),
        ("ssh://ada@[2001:db8::9]:2222", "[2001:db8::9]"),
        ("ada@2001:db8::9", "[2001:db8::9]"),
        ("203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_name_in_what_ssh_takes(target: str, name: str) -> None:
    deployment = server(host=target, mlflow={"listen": "0.0.0.0"})
    assert lets_in(deployment, f"{name}:5000")
    assert lets_post(deployment, f"http://{name}:5000")


def test_local_is_no_name() -> None:
    assert not lets_in(server(host="local", mlflow={"listen": "0.0.0.0"}), "local:5000")


@pytest.mark.parametrize("deployment", [LOCAL, server(), OPEN, OVER_IPV6])
def test_what_verify_tries_is_what_must_work(deployment: Deployment) -> None:
    asked = verify_request(deployment, Secrets("x"), facts(deployment))
    assert f"localhost:{deployment.mlflow.port}" in asked["hosts"]
    assert all(lets_in(deployment, host) for host in asked["hosts"])
    assert all(lets_post(deployment, origin) for origin in asked["origins"])


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected
