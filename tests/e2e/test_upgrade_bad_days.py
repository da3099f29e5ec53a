"""Bad days of upgrades: whatever breaks, whoever dies, the old server runs with the databases it had, bit for bit."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlflow_provision.agent.upgrade.journal import STARTING, STOPPING, SWITCHING, UNDOING, VERIFYING
from tests.e2e.mirror import PROJECTS, listing, mirror
from tests.e2e.prepared import prepared
from tests.e2e.served import NAME, UNIT
from tests.e2e.unharmed import BACKUPS, BASE, HISTORY, JOURNAL, NEW, OLD, Unharmed, ready

NEWER = "3.16.1"  # between the two, and not on the host
MIGRATION = "store/db_migrations/versions/dc11669786a5_add_job_executor_persistence_model.py"  # the newest
BROKEN = "broken on purpose"


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unharmed]:
    homes = tmp_path_factory.mktemp("homes")
    with (
        prepared(homes / "first", "--mlflow-version", OLD, "--backups", BACKUPS, then=ready) as found,
        found.copy(homes / "operator") as served,
    ):
        yield Unharmed.of(served)


# Before the server is stopped: it never is


@contextmanager
def unnoticed(unharmed: Unharmed) -> Iterator[None]:
    """Nobody who uses the server hears of what happens within the block."""
    before = unharmed.serving()
    yield
    assert unharmed.serving() == before
    unharmed.is_as_it_was()


def test_the_package_index_cannot_be_reached(unharmed: Unharmed) -> None:
    with unnoticed(unharmed):
        unharmed.host.network.block_internet("REJECT")
        try:
            said = unharmed.operator.refused("upgrade", NAME, "--to", NEWER, "--yes")
        finally:
            unharmed.host.network.allow_internet()
        assert "package index" in said


def test_the_package_index_fails_while_the_release_is_installed(unharmed: Unharmed) -> None:
    """It has MLflow, and nothing of what that is made of."""
    file = unharmed.operator.toml(NAME)
    with (
        unnoticed(unharmed),
        mirror(unharmed.host, {f"/{project}/": listing(project, NEWER) for project in PROJECTS}) as url,
    ):
        file.write_text(unharmed.deployment_file.replace("[mlflow]\n", f'[mlflow]\nindex_url = "{url}"\n'))
        try:
            said = unharmed.operator.refused("upgrade", NAME, "--to", NEWER, "--yes")
        finally:
            file.write_text(unharmed.deployment_file)
        assert NEWER in said
    assert list(unharmed.host.path("/opt/mlflow/releases").glob(f"{NEWER}-*")) == []


def test_the_migration_fails_on_the_copy(unharmed: Unharmed) -> None:
    with (
        unnoticed(unharmed),
        unharmed.broken(MIGRATION, more=f"\n\ndef upgrade():\n    raise RuntimeError('{BROKEN}')\n"),
    ):
        said = unharmed.operator.refused("upgrade", NAME, "--yes")
        assert BROKEN in said


def test_no_backup_can_be_made(unharmed: Unharmed) -> None:
    """Its place cannot be written to."""
    owner = unharmed.host.run(["stat", "-c", "uid=%u,gid=%g,mode=%a", BACKUPS]).stdout.strip()
    with unnoticed(unharmed):
        unharmed.host.run(["mount", "-t", "tmpfs", "-o", f"ro,{owner}", "tmpfs", BACKUPS])
        try:
            said = unharmed.operator.refused("upgrade", NAME, "--yes")
        finally:
            unharmed.host.run(["umount", BACKUPS])
        assert BACKUPS in said


def test_ctrl_c_while_it_rehearses(unharmed: Unharmed) -> None:
    with unnoticed(unharmed):
        process = unharmed.operator.start("upgrade", NAME, "--yes")
        assert process.stdout
        for line in process.stdout:
            if "databases copied" in line:
                process.send_signal(signal.SIGINT)
                break
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "Traceback" not in err


# After it was stopped: it comes back


def test_the_migration_fails_when_it_counts(unharmed: Unharmed) -> None:
    failing = f"    import os\n    if os.path.exists('{JOURNAL}'):\n        raise RuntimeError('{BROKEN}')\n"
    with unharmed.broken(MIGRATION, instead=("def upgrade():\n", f"def upgrade():\n{failing}")):
        said = unharmed.operator.refused("upgrade", NAME, "--yes")
    assert BROKEN in said
    assert f"the server runs again as before, with MLflow {OLD}" in said
    unharmed.is_as_it_was()


def test_the_new_server_dies(unharmed: Unharmed) -> None:
    begin = "def create_app(app: Flask = app):\n"
    with unharmed.broken("server/auth/__init__.py", instead=(begin, f"{begin}    raise ImportError('{BROKEN}')\n")):
        said = unharmed.operator.refused("upgrade", NAME, "--yes")
    assert BROKEN in said
    assert f"the server runs again as before, with MLflow {OLD}" in said
    unharmed.is_as_it_was()


def test_the_verification_fails(unharmed: Unharmed) -> None:
    """What the new server was told meanwhile is not thrown away: others may have used it."""
    broken = ("def _create_run():\n", f"def _create_run():\n    raise MlflowException('{BROKEN}')\n")
    before = kept(unharmed)
    with unharmed.broken("server/handlers.py", instead=broken):
        said = unharmed.operator.refused("upgrade", NAME, "--yes")
    assert "does not pass its verification" in said
    (new,) = kept(unharmed) - before
    assert f"what the new one held is in {inside(unharmed, new)}" in said
    unharmed.is_as_it_was()


def test_somebody_takes_the_port_meanwhile(unharmed: Unharmed) -> None:
    """And keeps it: everything is back, but no server can start. Once the port is free, one does."""
    with taken_when_free(unharmed, 5000):
        said = unharmed.operator.refused("upgrade", NAME, "--yes")
        assert "address already in use" in said
        assert "the old databases and files are back" in said
    unharmed.operator.run("start", NAME)
    unharmed.is_as_it_was()


def test_the_disk_is_full(unharmed: Unharmed) -> None:
    """Not a byte is free when the databases have been replaced."""
    with on_a_disk_of_its_own(unharmed) as fill:
        with unharmed.upgrading(SWITCHING) as process:
            fill()
        assert "No space left" in unharmed.operator.shown[-1] or "disk is full" in unharmed.operator.shown[-1]
        assert process.returncode == 1
        unharmed.is_as_it_was()


def kept(unharmed: Unharmed) -> set[Path]:
    """Where the databases are that a new server had written to when it was given up."""
    return {path.parent for path in unharmed.host.path(HISTORY).glob("*/databases/failed/mlflow.db")}


def inside(unharmed: Unharmed, path: Path) -> str:
    return f"/{path.relative_to(unharmed.host.path('/'))}"


@contextmanager
def taken_when_free(unharmed: Unharmed, port: int) -> Iterator[None]:
    """Another program wants a port, and has it as soon as nobody else does, until the block ends."""
    program = (
        "import socket, sys, time\n"
        "while True:\n"
        "    try:\n        held = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "    except OSError:\n        time.sleep(0.01)\n"
        "    else:\n        time.sleep(600)\n"
    )
    unharmed.host.run(["systemd-run", "--quiet", "--unit=squatter", "python3", "-c", program, str(port)])
    try:
        yield
    finally:
        unharmed.host.run(["systemctl", "stop", "squatter"])


@contextmanager
def on_a_disk_of_its_own(unharmed: Unharmed) -> Iterator[Callable[[], None]]:
    """All of the deployment is on another disk within the block; calling what this gives fills that one."""
    run, aside = unharmed.host.run, f"{BASE}.aside"
    run(["systemctl", "stop", UNIT])
    run(["mv", BASE, aside])
    run(["mkdir", BASE])
    run(["mount", "-t", "tmpfs", "-o", "size=8g,mode=755", "tmpfs", BASE])
    run(["cp", "-a", f"{aside}/.", BASE])
    run(["systemctl", "start", UNIT])

    def fill() -> None:
        used = f"$(df --output=used --block-size=1 {BASE} | tail -1)"  # it cannot become smaller than that
        run(["sh", "-c", f"until mount -o remount,size={used} {BASE}; do :; done"], timeout=20)

    try:
        yield fill
    finally:
        run(["systemctl", "stop", UNIT])
        run(["mount", "-o", "remount,size=8g", BASE])
        run(["rm", "-rf", aside])
        run(["cp", "-a", BASE, aside])
        run(["umount", BASE])
        run(["rmdir", BASE])
        run(["mv", aside, BASE])
        run(["systemctl", "start", UNIT])


# Whoever dies


@pytest.mark.parametrize("phase", [STOPPING, SWITCHING, VERIFYING])
def test_the_agent_is_killed(unharmed: Unharmed, phase: str) -> None:
    """Its watchdog goes back."""
    with unharmed.upgrading(phase):
        unharmed.kill(*unharmed.workers()[0])
    unharmed.is_as_it_was()


@pytest.mark.parametrize("phase", [STOPPING, SWITCHING, STARTING, VERIFYING])
def test_the_host_loses_its_power(unharmed: Unharmed, phase: str) -> None:
    """It goes back when it boots, before the server starts."""
    with unharmed.upgrading(phase):
        unharmed.host.kill()
    unharmed.host.start()
    unharmed.is_as_it_was()


def test_the_host_loses_its_power_on_the_way_back(unharmed: Unharmed) -> None:
    """The agent is killed while the new server starts, and its watchdog dies in the middle of its work."""
    with unharmed.upgrading(STARTING):
        unharmed.kill(*unharmed.workers()[0])
        unharmed.reaches(UNDOING)
        unharmed.host.kill()
    unharmed.host.start()
    unharmed.is_as_it_was()


def test_nobody_is_left_to_go_back(unharmed: Unharmed) -> None:
    """Agent and watchdog are killed at once: `status` tells, `setup` keeps away, and `start` goes back."""
    with unharmed.upgrading(VERIFYING):
        agents, watchdogs = unharmed.workers()
        unharmed.kill(*watchdogs, *agents)
    assert unharmed.phase == VERIFYING
    warnings = " ".join(unharmed.operator.json("status", NAME, code=None)["deployments"][0]["warnings"])
    assert "an upgrade was interrupted half-way" in warnings
    assert f"mlflow-provision rollback {NAME}" in unharmed.operator.refused("setup", NAME, "--yes")
    status = unharmed.operator.json("start", NAME)["status"]
    assert (status["mlflow_version"], status["healthy"]) == (OLD, True)
    unharmed.is_as_it_was()


def test_ctrl_c_after_the_stop(unharmed: Unharmed) -> None:
    with unharmed.upgrading(STOPPING) as process:
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    unharmed.is_as_it_was()


def test_the_connection_breaks(unharmed: Unharmed) -> None:
    with unharmed.upgrading(STARTING) as process:
        unharmed.host.run(["pkill", "-9", "-f", f"sshd: {unharmed.host.user}"])
    assert process.returncode == 3
    unharmed.is_as_it_was()


# And then it works


def test_after_all_that_an_upgrade_works(unharmed: Unharmed) -> None:
    """A backup of the schedule that comes in the middle of it steps aside."""
    process = unharmed.operator.start("upgrade", NAME, "--yes", "--json")
    unharmed.reaches(STOPPING, process)
    backups = set(unharmed.host.path(f"{BACKUPS}/{NAME}").glob("*/manifest.json"))
    assert backups
    unharmed.host.run(["systemctl", "start", f"{UNIT}-backup"])
    assert unharmed.phase, "it was over too soon"
    assert set(unharmed.host.path(f"{BACKUPS}/{NAME}").glob("*/manifest.json")) == backups
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert unharmed.answers() == NEW
    assert kept(unharmed) == set()  # with the upgrade that worked, what those that failed left is gone
    assert unharmed.operator.json("verify", NAME, "--no-kill")["ok"] is True
