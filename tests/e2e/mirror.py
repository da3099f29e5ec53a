"""A package index of our own, with just the pages that a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.lab import LabHost

PROJECTS = ("mlflow", "mlflow-skinny", "mlflow-tracing")


@dataclass(frozen=True)
class Page:
    """What a mirror answers; it may promise a greater length than it keeps."""

    body: bytes
    length: int = 0
    redirect: str = ""


def listing(project: str, version: str = "3.17.2") -> Page:
    return Page(f"<a href={project.replace('-', '_')}-{version}-py3-none-any.whl>".encode())


@contextmanager
def mirror(host: LabHost, pages: dict[str, Page]) -> Iterator[str]:
    """A package index that has just these pages; its URL, as the host reaches it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.removeprefix("/simple"))
            if page is None:
                self.send_error(404)
                return
            self.send_response(302 if page.redirect else 200)
            self.send_header("Location", page.redirect)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(page.length or len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((host.network.gateway, 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host.network.gateway}:{server.server_port}/simple"
        server.shutdown()
