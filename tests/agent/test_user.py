"""The system user of a server: made without login, refused when it is somebody else's, removed when it is ours."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from mlflow_provision.agent.protocol import AgentError
from mlflow_provision.agent.resources import Context
from mlflow_provision.agent.resources.absent import UserAbsent
from mlflow_provision.agent.resources.user import User
from tests.agent.converge import found, mend, needs_root
from tests.agent.fake_programs import FakePrograms

NAME, HOME = "mlflow-none-such", "/opt/mlflow/none-such"


def test_a_missing_user_is_made_a_system_user_without_login(programs: FakePrograms) -> None:
    programs.add("useradd")
    user = User("user", NAME, HOME)
    assert found(user) == "create (system user, no login)"
    user.apply(Context())
    assert programs.calls == [
        f"useradd --system --user-group --no-create-home --home-dir {HOME} --shell /usr/sbin/nologin {NAME}"
    ]


def test_one_whose_making_was_killed_half_way_gets_its_group(
    programs: FakePrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As seen on a host: in /etc/passwd, and not yet in /etc/group."""
    programs.add("groupadd")
    programs.add("usermod")
    half = pwd.struct_passwd((NAME, "x", 999, 997, "", HOME, "/usr/sbin/nologin"))
    monkeypatch.setattr(pwd, "getpwnam", {NAME: half}.__getitem__)
    user = User("user", NAME, HOME)
    assert found(user) == "finish: it has no group"
    user.apply(Context())
    assert programs.calls == [f"groupadd --system {NAME}", f"usermod --gid {NAME} --password ! {NAME}"]

    monkeypatch.setattr(grp, "getgrnam", {NAME: grp.struct_group((NAME, "x", 990, []))}.__getitem__)
    assert found(user) == "finish: it has no group"  # killed again, before it was the user's
    programs.forget()
    user.apply(Context())
    assert programs.calls == [f"usermod --gid {NAME} --password ! {NAME}"]


def test_a_user_of_somebody_else_is_refused() -> None:
    with pytest.raises(AgentError, match="not ours") as caught:
        found(User("user", "daemon", HOME))
    assert "--name" in caught.value.hint


def test_a_user_of_somebody_else_is_never_removed() -> None:
    assert found(UserAbsent("user", "daemon", HOME)) == ""
    assert found(UserAbsent("user", NAME, HOME)) == ""


def test_a_user_of_ours_is_removed(programs: FakePrograms) -> None:
    programs.add("userdel")
    daemon = pwd.getpwnam("daemon")
    absent = UserAbsent("user", "daemon", daemon.pw_dir)
    assert found(absent) == "remove"
    absent.apply(Context())
    assert programs.calls == ["userdel daemon"]


@needs_root
@pytest.mark.skipif(not Path("/usr/sbin/useradd").exists(), reason="this machine has no useradd")
def test_made_and_removed_for_real() -> None:
    name = f"mlflow-t{os.getpid()}"
    user, absent = User("user", name, "/nonexistent/" + name), UserAbsent("user", name, "/nonexistent/" + name)
    try:
        mend(user)
        account = pwd.getpwnam(name)
        assert (account.pw_shell, Path(account.pw_dir).exists()) == ("/usr/sbin/nologin", False)
        assert account.pw_uid < 1000
        subprocess.run(["groupdel", "--force", name], check=True)
        mend(user)
        assert grp.getgrnam(name).gr_gid == pwd.getpwnam(name).pw_gid
    finally:
        mend(absent)
