"""A /health page that answers what a test says."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from types import TracebackType


class HealthPage:
    """Listens while it is `up`; answers with `status`, or with what `answer` says at that moment."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.answer: Callable[[], int] = lambda: self.status
        self.asked: list[str] = []
        self._server = self._serve(port)
        self.port = int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def up(self) -> None:
        self._server = self._serve(self.port)

    def _serve(self, port: int) -> http.server.HTTPServer:
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.asked.append(f"{self.path} {self.headers['Host']}")
                self.send_response(page.answer())
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                """Requests are in `HealthPage.asked`."""

        server = http.server.HTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def __enter__(self) -> HealthPage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
