"""A program called `ssh` that does what a test wants: forwards for real, or fails with the words of OpenSSH."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

PROGRAM = """#!{python}
import json, pathlib, re, signal, socket, sys, threading, time
folder = pathlib.Path({folder!r})
lives = json.loads((folder / "lives.json").read_text())
started = folder / "started"
number = 1 + (len(started.read_text().splitlines()) if started.exists() else 0)
life = lives[min(number, len(lives)) - 1]
def say(line):
    print(line, file=sys.stderr, flush=True)
port = int(re.search(r"-L 127\\.0\\.0\\.1:(\\d+):", " ".join(sys.argv))[1])
if life["listens"] and life["code"] is None:
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError:  # another test was quicker: this start is none of those that are asked for
        say("bind [127.0.0.1]:%d: Address already in use" % port)
        say("channel_setup_fwd_listener_tcpip: cannot listen to port: %d" % port)
        sys.exit(255)
with started.open("a") as starts:
    starts.write(json.dumps(sys.argv[1:]) + "\\n")
for line in life["says"]:
    say(line.replace("PORT", str(port)))
if life["code"] is not None:
    sys.exit(life["code"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for one in (a, b):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
def forward(client):
    try:
        server = socket.create_connection(("127.0.0.1", life["leads_to"]))
    except OSError:
        say("channel 2: open failed: connect failed: Connection refused")
        client.close()
        return
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    pump(server, client)
def accept(listener):
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=forward, args=(client,), daemon=True).start()
if life["listens"]:
    say("debug1: Local forwarding listening on 127.0.0.1 port %d." % port)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
end = folder / ("end-%d" % number)
while not end.exists():
    time.sleep(0.01)
for line in end.read_text().splitlines():
    say(line)
if life["lingers"]:
    listener.shutdown(socket.SHUT_RDWR)
    time.sleep(life["lingers"])
sys.exit(255)
"""


class FakeSsh:
    """Each call of `then` is the next life of the program; the last one repeats."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lives: list[dict[str, Any]] = []
        folder.mkdir()
        program = folder / "ssh"
        program.write_text(PROGRAM.format(python=os.path.realpath(sys.executable), folder=str(folder)))
        program.chmod(0o755)

    def then(
        self, *says: str, code: int | None = None, leads_to: int = 0, listens: bool = True, lingers: float = 0.0
    ) -> None:
        """It says this, then exits with `code`, or forwards to a local port until `end`. It `lingers` so many seconds
        after it has closed that."""
        life = {"says": says, "code": code, "leads_to": leads_to, "listens": listens, "lingers": lingers}
        self._lives.append(life)
        (self._folder / "lives.json").write_text(json.dumps(self._lives))

    def end(self, number: int, *says: str) -> None:
        """End the life of that number (from 1) with these words."""
        (self._folder / f"end-{number}").write_text("\n".join(says))

    @property
    def starts(self) -> list[list[str]]:
        """The arguments of each start."""
        file = self._folder / "started"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
