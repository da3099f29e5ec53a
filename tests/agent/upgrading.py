"""A deployment in a temporary tree with two releases, and everything of an upgrade that needs no real server."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow_provision.agent import verify
from mlflow_provision.agent.protocol import AgentError, Event
from mlflow_provision.agent.resources.background_process import BackgroundProcess
from mlflow_provision.agent.upgrade import serve as upgrade
from tests.agent.restoring import PASSWORD, admin_of, service_in, settings_of, verified_in
from tests.agent.site_databases import NEW, OLD, STARTED, make_tracking, make_users, password_hash, runs_of

OLD_RELEASE, NEW_RELEASE = "3.10.1-old", "3.17.2-new"
# The Python of a release: does to the databases what MLflow would do.
_PYTHON = """#!{python}
import json, os, sqlite3, sys
print("READY", flush=True)
request = json.load(sys.stdin)
with open({log!r}, "a") as log:
    log.write(json.dumps(sorted(request)) + "\\n")
trouble = {trouble!r}
if "username" in request:
    connection = sqlite3.connect(request["database"])
    connection.execute("UPDATE users SET password_hash = ? WHERE username = ?", ({hash!r}, request["username"]))
elif "tracking" in request:
    if os.path.exists(trouble + "/migration-fails"):
        sys.exit("the migration failed")
    connection = sqlite3.connect(request["tracking"])
    if not os.path.exists(trouble + "/migration-stops"):
        connection.execute("UPDATE alembic_version SET version_num = 'bbb'")
        connection.execute("ALTER TABLE runs ADD COLUMN migrated TEXT")
    if os.path.exists(trouble + "/migration-loses"):
        connection.execute("DELETE FROM metrics WHERE rowid = 1")
else:
    sys.exit(0)
connection.commit()
connection.close()
"""


class Site:
    """What is on the host. The server is a file, `running`, that says which release it is."""

    def __init__(self, root: Path) -> None:
        self.root, self.base = root, root / "server"
        self.data, self.state, self.store = self.base / "data", self.base / "backup" / "state", root.parent / "store"
        self.events: list[Event] = []
        self.owner = ""

    def make(self, runs: tuple[str, ...] = ("now-1", "now-2")) -> Site:
        """A server of the old release that runs."""
        for folder in (self.data, self.base / "etc", self.state):
            folder.mkdir(parents=True)
        (self.root / ".mlflow-provision").touch()
        (self.base / "etc" / "secrets.env").write_text("MLFLOW_FLASK_SERVER_SECRET_KEY=CANARY-secret\n")
        self.config.write_text("[mlflow]\nadmin_password =\n")
        self.config.chmod(0o640)
        make_tracking(self.tracking, list(runs), STARTED, OLD)
        make_users(self.users, {"admin": PASSWORD, "ada": "now"})
        self._release(OLD_RELEASE, {OLD: None})
        self._release(NEW_RELEASE, {OLD: None, NEW: OLD})
        (self.base / "venv").symlink_to(self.root / "releases" / OLD_RELEASE)
        (self.base / "deployment.json").write_text('{"name": "server", "release": "3.10.1-old"}\n')
        (self.base / "running").write_text(OLD_RELEASE)
        return self

    @property
    def tracking(self) -> Path:
        return self.data / "mlflow.db"

    @property
    def users(self) -> Path:
        return self.data / "basic_auth.db"

    @property
    def config(self) -> Path:
        return self.base / "etc" / "basic_auth.ini"

    @property
    def journal(self) -> Path:
        return self.base / "backup" / "upgrading"

    @property
    def running(self) -> str:
        """The release that serves; "" when none does."""
        path = self.base / "running"
        return path.read_text() if path.exists() else ""

    @property
    def history(self) -> list[dict[str, Any]]:
        notes = sorted((self.base / "backup" / "upgrades").glob("*/upgrade.json"))
        return [json.loads(path.read_text()) for path in notes]

    def trouble(self, name: str, on: bool = True) -> None:
        (self.base / name).touch() if on else (self.base / name).unlink()

    def add_run(self, name: str) -> None:
        with closing(sqlite3.connect(self.tracking)) as connection:
            connection.execute("INSERT INTO runs (run_uuid, start_time) VALUES (?, ?)", (name, int(STARTED * 1000)))
            connection.commit()

    def request(self, action: str = "upgrade", to: str = NEW_RELEASE, **changed: Any) -> dict[str, Any]:
        source = {
            "deployment": "server",
            "databases": {"mlflow.db": str(self.tracking), "basic_auth.db": str(self.users)},
            "files": {"secrets.env": str(self.base / "etc" / "secrets.env")},
            "artifacts": "",
            "venv": str(self.base / "venv"),
        }
        return {
            "action": action,
            "settings": settings_of(self.owner, self.state, self.store, source),
            "identity": "",
            "deployment": "server",
            "root": str(self.root),
            "base": str(self.base),
            "data": str(self.data),
            "owner": self.owner,
            "venv": str(self.base / "venv"),
            "live": source["databases"],
            "config": str(self.config),
            "to": {"version": to.partition("-")[0], "release": str(self.root / "releases" / to)},
            "keep": 2,
            "service": service_in(self.base),
            "verify": {"url": "", "username": "admin", "password": PASSWORD},
            "install": [],
            "resources": self._resources(to),
            **changed,
        }

    def run(self, action: str = "upgrade", to: str = NEW_RELEASE, **changed: Any) -> dict[str, Any]:
        return upgrade(self.request(action, to, **changed), "ada@laptop", self.events.append, lambda: False)

    def roll_back(self, **changed: Any) -> dict[str, Any]:
        return self.run("rollback", OLD_RELEASE, **changed)

    def state_of_files(self) -> dict[str, Any]:
        """What the server had, bit for bit; what SQLite can make again is left out."""
        found: dict[str, Any] = {}
        for folder in (self.data, self.base / "etc", self.base):
            for path in sorted(folder.iterdir()):
                if path.is_symlink():
                    found[path.name] = str(path.readlink())
                elif path.is_file() and not path.name.endswith("-shm"):
                    found[path.name] = (path.read_bytes(), path.stat().st_mode)
        return {name: what for name, what in found.items() if what != (b"", 0o100600)}

    def _release(self, name: str, revisions: dict[str, str | None]) -> None:
        release = self.root / "releases" / name
        packages = release / "lib/python3.11/site-packages"
        users: dict[str, str | None] = {"u1": None}
        for folder, known in (
            ("store/db_migrations/versions", revisions),
            ("server/auth/db/migrations/versions", users),
        ):
            versions = packages / "mlflow" / folder
            versions.mkdir(parents=True)
            for revision, before in known.items():
                text = f'revision = "{revision}"\ndown_revision = {json.dumps(before) if before else None}\n'
                (versions / f"{revision}.py").write_text(text)
        (packages / f"mlflow-{name.partition('-')[0]}.dist-info").mkdir()
        (release / "release.json").write_text("{}")
        (release / "bin").mkdir()
        values = {"python": sys.executable, "log": str(release / "calls"), "trouble": str(self.base)}
        python = release / "bin" / "python"
        python.write_text(_PYTHON.format(hash=password_hash(PASSWORD), **values))
        python.chmod(0o755)

    def _resources(self, to: str) -> list[dict[str, Any]]:
        mine: dict[str, Any] = {"owner": "", "group": ""}
        content = "[mlflow]\n" if to == NEW_RELEASE else "[mlflow]\nadmin_password =\n"
        return [
            {"kind": "Directory", "id": "etc", "path": str(self.base / "etc"), "mode": 0o755, **mine},
            {"kind": "File", "id": "ini", "path": str(self.config), "content": content, "mode": 0o640, **mine},
            {"kind": "Directory", "id": "new", "path": str(self.base / "new"), "mode": 0o755, **mine},
            {"kind": "File", "id": "f", "path": str(self.base / "new" / "f"), "content": "x", "mode": 0o600, **mine},
            {"kind": "Symlink", "id": "venv", "path": str(self.base / "venv"), "target": f"{self.root}/releases/{to}"},
            admin_of(self.users, self.tracking, self.root / "releases" / to, self.base, self.owner),
            {
                "kind": "Record",
                "id": "record",
                "path": str(self.base / "deployment.json"),
                "facts": {"name": "server", "release": to},
                "operator": "ada",
            },
        ]


def revision_of(path: Path) -> str:
    # Who opens it for writing mends what a killed server has left.
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        revision: str = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        return revision


def play(site: Site, patch: Callable[[object, str, Any], object] = setattr) -> None:
    """From now on every server and every verification in this process are those of the site. A server that starts is
    of the release that is linked, and dies with a schema that is not its own."""

    def status(self: BackgroundProcess) -> dict[str, Any]:
        return {"running": bool(site.running), "healthy": bool(site.running), "problem": ""}

    def start(self: BackgroundProcess, stopping: Callable[[], bool]) -> dict[str, Any]:
        release = (site.base / "venv").readlink().name
        for path in (site.tracking, site.users):
            if not path.exists():
                raise AgentError(f"it would make an empty {path}")
        if (site.base / f"{release}-dies").exists():
            raise AgentError("the server started and died:\nno such module", kind="crashed")
        wanted = OLD if release == OLD_RELEASE else NEW
        if revision_of(site.tracking) != wanted:
            raise AgentError("the server started and died:\nwrong schema", kind="crashed")
        (site.base / "running").write_text(release)
        if (site.base / "somebody-writes").exists() and release == NEW_RELEASE:
            site.add_run("written-meanwhile")
        return status(self)

    def stop(self: BackgroundProcess, stopping: Callable[[], bool]) -> dict[str, Any]:
        (site.base / "running").unlink(missing_ok=True)
        return status(self)

    patch(BackgroundProcess, "status", status)
    patch(BackgroundProcess, "start", start)
    patch(BackgroundProcess, "stop", stop)
    patch(verify, "verify", verified_in(site.base, lambda: site.running))


def held(site: Site) -> tuple[str, list[str]]:
    """The schema of the tracking database, and its runs."""
    return revision_of(site.tracking), runs_of(site.tracking)
