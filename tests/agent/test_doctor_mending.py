"""What a doctor puts right on the host, and what it leaves alone."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from mlflow_provision.agent.doctor import serve
from mlflow_provision.agent.protocol import AgentError
from tests.agent.doctor_ward import Ward

DAY = 86400.0


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def mend(ward: Ward, *checks: str) -> dict[str, str]:
    data = {**ward.data, "action": "mend", "mend": list(checks)}
    answer: dict[str, str] = serve(data, "ada", ward.events.append, lambda: False)["mended"]
    return answer


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_open_secrets_are_closed(ward: Ward) -> None:
    (ward.etc / "secrets.env").chmod(0o666)
    (ward.live / "mlflow.db").chmod(0o644)
    (ward.base / "start_mlflow_server.sh").chmod(0o757)
    done = mend(ward, "secrets-readable")["secrets-readable"]
    assert "secrets.env" in done
    assert mode(ward.etc / "secrets.env") == 0o600
    assert mode(ward.live / "mlflow.db") == 0o600
    assert mode(ward.base / "start_mlflow_server.sh") == 0o755
    assert ward.one("secrets-readable")["verdict"] == "ok"
    assert mend(ward, "secrets-readable") == {"secrets-readable": "nothing was left to do"}


def test_a_link_is_not_followed(ward: Ward) -> None:
    outside = ward.root / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    (ward.etc / "link").symlink_to(outside)
    mend(ward, "secrets-readable")
    assert mode(outside) == 0o644


def test_what_lies_about_goes(ward: Ward) -> None:
    old, young, half = ward.tmp / "old", ward.tmp / "young", ward.root / "releases" / "half"
    for folder in (old, half):
        folder.mkdir()
        (folder / "f").write_text("x" * 10)
    young.write_text("x")
    ward.is_as_old_as(2 * DAY, old / "f", old, half / "f", half)
    assert mend(ward, "tmp-litter") == {"tmp-litter": "2 leftovers removed, 20 B"}
    assert not old.exists()
    assert not half.exists()
    assert young.exists()
    assert (ward.release / "release.json").exists()


def test_what_is_no_litter_cannot_be_mended_like_this(ward: Ward) -> None:
    with pytest.raises(AgentError, match="disk cannot be mended"):
        mend(ward, "disk")


def test_only_root_gives_files_away(ward: Ward) -> None:
    with pytest.raises(AgentError, match="only root"):
        mend(ward, "files-owner")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_are_given_to_the_server(open_folder: Path) -> None:
    ward = Ward(open_folder)
    ward.data["user"] = "nobody"
    nobody = pwd.getpwnam("nobody")
    for path in (ward.live, *ward.live.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    deep = ward.artifacts / "1" / "f"
    deep.parent.mkdir()
    deep.write_text("x")
    outside = ward.root / "outside"
    outside.write_text("x")
    os.link(outside, ward.artifacts / "linked")
    (ward.live / "link").symlink_to(outside)
    (ward.live / "mlflow.db").chmod(0o400)
    found = ward.one("files-owner")
    assert found["data"]["fix"] == "mend"
    assert mend(ward, "files-owner") == {"files-owner": "3 files given to nobody"}
    assert (deep.stat().st_uid, deep.parent.stat().st_uid) == (nobody.pw_uid, nobody.pw_uid)
    assert mode(ward.live / "mlflow.db") == 0o600
    assert outside.stat().st_uid == 0
