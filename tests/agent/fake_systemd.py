"""A systemd of one unit: `systemctl` and `journalctl` over a few files, and a health page that follows them."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

from mlflow_provision.agent.resources.systemd_service import SystemdService
from tests.agent.fake_programs import FakePrograms
from tests.agent.health_page import HealthPage

# What `systemctl show` says of a server that runs well.
_RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "MainPID": "4711",
    "NRestarts": "0",
}

_SYSTEMCTL = """
cd {folder}
become() {{ sed -i "s/^$1=.*/$1=$2/" show; }}
[ "$1" = --no-block ] && shift
[ -e fail-$1 ] && exit 1
[ -e on-$1 ] && (exec > /dev/null 2>&1; . ./on-$1)
case "$*" in
is-active*) grep -q ActiveState=active show && echo active || exit 3 ;;
show*ControlGroup*) cat group ;;
show*) cat show ;;
daemon-reload) become NeedDaemonReload no ;;
enable*) become UnitFileState enabled ;;
disable*) become UnitFileState disabled ;;
stop*) become ActiveState inactive; become SubState dead; rm -f healthy ;;
start*) become ActiveState active; become SubState running; [ -e on-start ] || touch healthy ;;
reset-failed*) become NRestarts 0 ;;
esac
true
"""


class FakeSystemd:
    """The unit runs well until a test says otherwise. The file `healthy` makes its health page answer 200."""

    def __init__(self, folder: Path, programs: FakePrograms, page: HealthPage) -> None:
        folder.mkdir()
        self.folder, self.programs, self.page = folder, programs, page
        programs.add("systemctl", _SYSTEMCTL.format(folder=shlex.quote(str(folder))))
        programs.add("journalctl", f"cat {shlex.quote(str(folder))}/journal")
        (folder / "journal").write_text("")
        (folder / "started-with").write_text("")
        (folder / "healthy").touch()
        (folder / "group").write_text("/no/such/group")
        self.become(**_RUNNING, ActiveEnterTimestampMonotonic=str(int((time.monotonic() - 3600) * 1e6)))
        page.answer = lambda: 200 if (folder / "healthy").exists() else 503

    def become(self, **state: str) -> None:
        """Change what `systemctl show` says; a crash is a change like any other."""
        text = "".join(f"{name}={value}\n" for name, value in {**self.state, **state}.items())
        (self.folder / "show.new").write_text(text)
        (self.folder / "show.new").rename(self.folder / "show")

    @property
    def state(self) -> dict[str, str]:
        show = self.folder / "show"
        return dict(line.split("=", 1) for line in show.read_text().splitlines()) if show.exists() else {}

    def on(self, verb: str, body: str) -> None:
        """Run this piece of shell first at every `systemctl <verb>`; `become NAME VALUE` changes the state."""
        (self.folder / f"on-{verb}").write_text(body + "\n")

    def fail(self, verb: str) -> None:
        """Let every `systemctl <verb>` fail."""
        (self.folder / f"fail-{verb}").touch()

    def log(self, *lines: str) -> None:
        (self.folder / "journal").write_text("".join(line + "\n" for line in lines))

    @property
    def calls(self) -> list[str]:
        """What was asked of systemctl, without the questions."""
        asked = [call for call in self.programs.calls if call.startswith("systemctl ")]
        return [call[len("systemctl ") :] for call in asked if not call.startswith("systemctl show")]

    @property
    def resource(self) -> SystemdService:
        return SystemdService(
            id="service",
            unit="mlflow-server.service",
            url=self.page.url,
            started_with=str(self.folder / "started-with"),
            watched=(),
            restart_on=("server.env", "unit"),
        )
