"""What `TinyServer` runs: `tiny_server_program.py PORT FOLDER`. It has a child, which has a child."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_LIFETIME = 120  # seconds: what a broken test leaves behind ends by itself


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if (Path(sys.argv[2]) / "sick").exists() else 200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody asked."""


def _descend(generations: int) -> None:
    """A process with as many generations below it; the last one says its pid, and may be hard to end."""
    if generations:
        subprocess.Popen([sys.executable, __file__, str(generations - 1), sys.argv[2], "descendant"])
    else:
        if (Path(sys.argv[2]) / "stubborn").exists():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (Path(sys.argv[2]) / "grandchild.new").write_text(str(os.getpid()))
        (Path(sys.argv[2]) / "grandchild.new").rename(Path(sys.argv[2]) / "grandchild")
    time.sleep(_LIFETIME)


def _serve(port: int) -> None:
    signal.alarm(_LIFETIME)
    subprocess.Popen([sys.executable, __file__, "1", sys.argv[2], "descendant"])
    print("serving", flush=True)
    http.server.HTTPServer(("127.0.0.1", port), _Handler).serve_forever()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        _descend(int(sys.argv[1]))
    else:
        _serve(int(sys.argv[1]))
