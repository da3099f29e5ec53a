"""What ~/.ssh/config makes of a target: OpenSSH is asked, and paramiko where there is no OpenSSH."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path

import pytest

from mlflow_provision.errors import ExitCode, ProvisionError
from mlflow_provision.host.settings import Settings, read_settings
from mlflow_provision.ssh_target import CONFIG_VARIABLE

CONFIG = """
Host box
    HostName 192.0.2.7
    Port 2222
    User someone
    IdentityFile ~/.ssh/key-for-%h
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/one {folder}/two
    GlobalKnownHostsFile none
    HostKeyAlias the-box
    HashKnownHosts yes
    StrictHostKeyChecking yes
    ProxyJump first,me@second:2200
    ConnectTimeout 3
    AddressFamily inet
Host command
    ProxyCommand nc --as %r %h %p 100%%
    ProxyJump none
Host agent
    IdentityAgent {folder}/agent.sock
Host no-agent
    IdentityAgent none
    UserKnownHostsFile /dev/null
"""


@pytest.fixture(params=["openssh", "paramiko"], autouse=True)
def reader(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "config").write_text(CONFIG.format(folder=tmp_path))
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    if request.param == "openssh" and not shutil.which("ssh"):
        pytest.skip("there is no OpenSSH client here")
    if request.param == "paramiko":
        run = subprocess.run

        def without_ssh(command: list[str], **options: object) -> object:
            if command[0] == "ssh":
                raise FileNotFoundError("ssh")
            return run(command, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(subprocess, "run", without_ssh)
    return str(request.param)


def test_everything_that_is_configured(tmp_path: Path) -> None:
    assert read_settings("box") == Settings(
        target="box",
        hostname="192.0.2.7",
        port=2222,
        user="someone",
        identity_files=(tmp_path / ".ssh" / "key-for-192.0.2.7",),
        identities_only=True,
        known_hosts=(tmp_path / "one", tmp_path / "two"),
        host_key_alias="the-box",
        hash_known_hosts=True,
        refuse_unknown=True,
        proxy_jump=("first", "me@second:2200"),
        address_family="inet",
        connect_timeout=3.0,
        identity_given=True,
    )


def test_nothing_that_is_configured() -> None:
    settings = read_settings("plain.example.com")
    assert (settings.hostname, settings.port, settings.user) == ("plain.example.com", 22, getpass.getuser())
    assert settings.connect_timeout == 10
    assert settings.proxy_jump == ()
    assert settings.proxy_command == ""
    assert not settings.identity_given
    assert {"id_rsa", "id_ed25519"} <= {path.name for path in settings.identity_files}
    assert settings.known_hosts[0].name == "known_hosts"


@pytest.mark.parametrize(
    ("target", "user", "host", "port"),
    [
        ("me@box", "me", "192.0.2.7", 2222),
        ("ssh://me@box:99", "me", "192.0.2.7", 99),
        ("me@other:99", "me", "other", 99),
        ("me@fe80::1", "me", "fe80::1", 22),
        ("me@[fe80::1]:99", "me", "fe80::1", 99),
        ("me.dom@other", "me.dom", "other", 22),
    ],
)
def test_ways_to_write_a_target(target: str, user: str, host: str, port: int) -> None:
    settings = read_settings(target)
    assert (settings.user, settings.hostname, settings.port) == (user, host, port)


@pytest.mark.parametrize(
    "target",
    ["", "-oProxyCommand=x", "me@-oProxyCommand=x", "a b", "$(id)", "`id`", "a;b", "a|b", "a'b", "a\nb", "a/b", "a:b"],
)
def test_what_is_no_host(target: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        read_settings(target)
    assert caught.value.code == ExitCode.USAGE


def test_proxy_command() -> None:
    assert read_settings("command").proxy_command == f"nc --as {getpass.getuser()} command 22 100%"


def test_agents(tmp_path: Path) -> None:
    assert read_settings("agent").identity_agent == str(tmp_path / "agent.sock")
    assert read_settings("no-agent").identity_agent == "none"
    assert read_settings("no-agent").known_hosts == ()


def test_a_key_that_was_asked_for(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch()
    settings = read_settings("plain.example.com", str(key))
    assert settings.identity_files == (key,)
    assert settings.identity_given


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError) as caught:
        read_settings("box", str(tmp_path / "key.pem"))
    assert "there is no SSH key" in caught.value.message


def test_name_in_known_hosts() -> None:
    assert read_settings("box").name_in_known_hosts == "the-box"
    assert read_settings("other").name_in_known_hosts == "other"
    assert read_settings("other:99").name_in_known_hosts == "[other]:99"


def test_a_configuration_openssh_refuses(tmp_path: Path, reader: str) -> None:
    if reader != "openssh":
        pytest.skip("only OpenSSH is as strict")
    (tmp_path / "config").write_text("Host *\n    NoSuchThing yes\n")
    with pytest.raises(ProvisionError) as caught:
        read_settings("box")
    assert "nosuchthing" in caught.value.message.lower()
