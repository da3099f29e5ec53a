"""A deployment in a temporary tree with a backup of it, and everything of a restore that needs no real server."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow_provision.agent import verify
from mlflow_provision.agent.backup import manifest as manifests
from mlflow_provision.agent.backup.codec import store_stream
from mlflow_provision.agent.backup.manifest import Manifest, Member
from mlflow_provision.agent.backup.settings import Encryption
from mlflow_provision.agent.backup.stores.folder import FolderStore
from mlflow_provision.agent.protocol import FAILED, OK, AgentError, Event
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.restore import serve as restore
from tests.agent.site_databases import NEW, OLD, STARTED, make_tracking, make_users, password_hash, runs_of

PASSWORD = "correct horse battery CANARY"
ID = "20261121T153012Z-4f2a9c"
SECRETS = "MLFLOW_FLASK_SERVER_SECRET_KEY=of-the-backup\nMLFLOW_CRYPTO_KEK_PASSPHRASE=CANARY-of-the-backup\n"

# The Python of the release: does to the databases what MLflow would do.
_PYTHON = """#!{python}
import json, sqlite3, sys
request = json.load(sys.stdin)
with open({log!r}, "a") as log:
    log.write(json.dumps(sorted(request)) + "\\n")
if "username" in request:
    connection = sqlite3.connect(request["database"])
    connection.executescript("CREATE TABLE IF NOT EXISTS users"
        " (id INTEGER PRIMARY KEY, username TEXT UNIQUE, password_hash TEXT, is_admin BOOLEAN);")
    connection.execute("INSERT INTO users (username, password_hash, is_admin) VALUES (?, ?, 1)"
        " ON CONFLICT (username) DO UPDATE SET password_hash = excluded.password_hash, is_admin = 1",
        (request["username"], {password_hash!r}))
else:
    connection = sqlite3.connect(request["tracking"])
    connection.execute("UPDATE alembic_version SET version_num = 'bbb'")
    connection.execute("ALTER TABLE runs ADD COLUMN migrated TEXT")
connection.commit()
connection.close()
"""


class Site:
    """What is on the host. The server is a file: `running`; it refuses what a real one would refuse."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.data, self.store, self.release = base / "data", base.parent / "store", base.parent / "release"
        self.state = base / "backup" / "state"
        self.events: list[Event] = []
        self.owner = self.artifacts = ""

    def give_to(self, owner: str) -> None:
        """As in system scope: the data are the service user's, and root's is everything around them."""
        self.owner = owner
        for folder in (self.data, self.state, self.store):
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, owner, owner)
        for folder in (self.data, self.state, self.base / "etc", self.base / "backup"):
            shutil.chown(folder, None, owner)
            folder.chmod(0o750)
        shutil.chown(self.secrets, "root", owner)

    def make(self) -> Site:
        """A server that runs, with runs `now-1` … of its own."""
        for folder in (self.data, self.base / "etc", self.data / "artifacts", self.state):
            folder.mkdir(parents=True)
        self.secrets.write_text("MLFLOW_FLASK_SERVER_SECRET_KEY=of-now\nMLFLOW_OTHER=only-here\n")
        self.secrets.chmod(0o640)
        make_tracking(self.tracking, ["now-1", "now-2", "now-3"], STARTED + 60)
        make_users(self.users, {"admin": PASSWORD, "ada": "now"})
        self._make_release()
        self.set_running(True)
        return self

    @property
    def tracking(self) -> Path:
        return self.data / "mlflow.db"

    @property
    def users(self) -> Path:
        return self.data / "basic_auth.db"

    @property
    def secrets(self) -> Path:
        return self.base / "etc" / "secrets.env"

    @property
    def guard(self) -> Path:
        return self.base / "backup" / "restoring"

    @property
    def running(self) -> bool:
        return (self.base / "running").exists()

    def set_running(self, running: bool) -> None:
        (self.base / "running").touch() if running else (self.base / "running").unlink(missing_ok=True)

    @property
    def release_calls(self) -> list[str]:
        log = self.release / "calls"
        return log.read_text().splitlines() if log.exists() else []

    def request(self, action: str = "restore", **changed: Any) -> dict[str, Any]:
        source = {
            "deployment": "server",
            "databases": {"mlflow.db": str(self.tracking), "basic_auth.db": str(self.users)},
            "files": {"secrets.env": str(self.secrets)},
            "artifacts": self.artifacts,
            "venv": str(self.release),
        }
        return {
            "action": action,
            "settings": settings_of(self.owner, self.state, self.store, source),
            "id": "",
            "identity": "",
            "release": str(self.release),
            "config": str(self.base / "etc" / "basic_auth.ini"),
            "service": service_in(self.base),
            "admin": admin_of(self.users, self.tracking, self.release, self.base, self.owner),
            "verify": {"url": "", "username": "admin", "password": PASSWORD},
            "secrets_env": str(self.secrets),
            "base": str(self.base),
            "data": str(self.data),
            "owner": self.owner,
            "safety": False,
            "artifacts": True,
            **changed,
        }

    def run(self, action: str = "restore", **changed: Any) -> dict[str, Any]:
        return restore(self.request(action, **changed), "ada@laptop", self.events.append, lambda: False)

    def back_up(
        self,
        id: str = ID,
        *,
        runs: tuple[str, ...] = ("then-1", "then-2"),
        users: dict[str, str] | None = None,
        revision: str = NEW,
        secrets: str = SECRETS,
        sequence: int = 1,
        version: str = "3.17.2",
        reason: str = "by hand",
        **changed: Any,
    ) -> Manifest:
        """A backup in the store. `users` {}: without a database of users."""
        folder = self.base.parent / f"made-{id}"
        folder.mkdir()
        users = {"admin": "then", "bob": "then"} if users is None else users
        make_tracking(folder / "mlflow.db", list(runs), STARTED - 60, revision)
        rows = {"mlflow.db": {"runs": len(runs), "experiments": 1, "metrics": len(runs)}}
        schema = {"mlflow.db": revision}
        if users:
            make_users(folder / "basic_auth.db", users)
            rows["basic_auth.db"], schema["basic_auth.db"] = {"users": len(users)}, "u1"
        with tarfile.open(folder / "files.tar", "w") as archive:
            entry = tarfile.TarInfo("secrets.env")
            entry.size = len(secrets.encode())
            archive.addfile(entry, io.BytesIO(secrets.encode()))
        store = FolderStore(f"{self.store}/server")
        members = tuple(
            stored(store, id, folder / name)
            for name in ("mlflow.db", "basic_auth.db", "files.tar")
            if (folder / name).exists()
        )
        values: dict[str, Any] = {
            "id": id,
            "sequence": sequence,
            "deployment": "server",
            "host": "here",
            "reason": reason,
            "started": STARTED,
            "seconds": 1.0,
            "tool_version": "1",
            "mlflow_version": version,
            "python_version": "3.11",
            "sqlite_version": "3.40",
            "members": members,
            "schema": schema,
            "rows": rows,
        }
        manifest = Manifest(**{**values, **changed})
        with store.put(f"{id}/manifest.json") as writer:
            writer.write(manifests.encode(manifest))
        return manifest

    def _make_release(self) -> None:
        for folder, revisions in (
            ("store/db_migrations/versions", {OLD: None, NEW: OLD}),
            ("server/auth/db/migrations/versions", {"u1": None}),
        ):
            versions = self.release / "lib/python3.11/site-packages/mlflow" / folder
            versions.mkdir(parents=True)
            for revision, before in revisions.items():
                text = f'"""x"""\nrevision = "{revision}"\ndown_revision = {json.dumps(before) if before else None}\n'
                (versions / f"{revision}.py").write_text(text)
        (self.release / "lib/python3.11/site-packages/mlflow-3.17.2.dist-info").mkdir()
        (self.release / "bin").mkdir()
        python = self.release / "bin" / "python"
        log = str(self.release / "calls")
        python.write_text(_PYTHON.format(python=sys.executable, log=log, password_hash=password_hash(PASSWORD)))
        python.chmod(0o755)


def settings_of(owner: str, state: Path, store: Path, source: dict[str, Any]) -> dict[str, Any]:
    """Of backups, as a request carries them."""
    return {
        "user": owner,
        "state": str(state),
        "source": source,
        "place": {"destination": str(store)},
        "tool_version": "1",
    }


def service_in(base: Path) -> dict[str, Any]:
    return {
        "kind": "BackgroundProcess",
        "id": "service",
        "script": str(base / "start_mlflow_server.sh"),
        **dict.fromkeys(("url", "pid_file", "log", "started_with"), ""),
        "watched": [],
        "restart_on": [],
    }


def admin_of(users: Path, tracking: Path, release: Path, base: Path, owner: str) -> dict[str, Any]:
    return {
        "kind": "AdminUser",
        "id": "admin",
        "username": "admin",
        "password": PASSWORD,
        "database": str(users),
        "release": str(release),
        "config": str(base / "etc" / "basic_auth.ini"),
        "owner": owner,
        "tracking": str(tracking),
    }


def verified_in(base: Path, running: Callable[[], object]) -> Callable[..., dict[str, Any]]:
    """What verifies the server there; a file makes it fail."""

    def verified(data: Any, emit: Any, stopping: Any = None) -> dict[str, Any]:
        assert running()
        wrong = (base / "fails-verification").exists()
        return {"checks": [{"title": "lets admin log in", "verdict": FAILED if wrong else OK, "summary": "401"}]}

    return verified


def stored(store: FolderStore, id: str, path: Path) -> Member:
    key = f"{id}/{path.name}.gz"
    sums = store_stream(store, key, [path.read_bytes()], Encryption())
    return Member(path.name, key, **asdict(sums))


def play(site: Site, patch: Callable[[object, str, Any], object] = setattr) -> None:
    """From now on every server and every verification in this process are those of the site."""

    def status(self: BackgroundProcess) -> dict[str, Any]:
        sick = (site.base / "sick").exists()
        return {"running": site.running, "healthy": site.running and not sick, "problem": "sick" if sick else ""}

    def start(self: BackgroundProcess, stopping: Callable[[], bool]) -> dict[str, Any]:
        if site.guard.exists():
            raise AgentError("it does not start while a restore is half-way")
        for path in (site.tracking, site.users):
            if not path.exists():
                raise AgentError(f"it would make an empty {path}")
        if (site.base / "sick").exists() or (
            (site.base / "sick-with-then").exists() and "then-1" in runs_of(site.tracking)
        ):
            raise AgentError("the server started and died", kind="crashed")
        site.set_running(True)
        return status(self)

    def stop(self: BackgroundProcess, stopping: Callable[[], bool]) -> dict[str, Any]:
        time.sleep(0)
        site.set_running(False)
        return status(self)

    patch(BackgroundProcess, "status", status)
    patch(BackgroundProcess, "start", start)
    patch(BackgroundProcess, "stop", stop)
    patch(verify, "verify", verified_in(site.base, lambda: site.running))
