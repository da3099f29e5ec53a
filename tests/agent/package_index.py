"""A package index as PEP 503 describes it, served from memory."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from types import TracebackType


class PackageIndex:
    """Serves /simple/<project>/ and the files of each project."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.pages: dict[str, str] = {}  # a whole page instead of the generated one
        self.requests: list[str] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """What a person gives as `--index-url`."""
        return self.origin + "/simple"

    def add(self, project: str, name: str, content: bytes = b"") -> str:
        """Offer a file; returns its sha256."""
        self.files.setdefault(project, {})[name] = content
        return hashlib.sha256(content).hexdigest()

    def answer(self, path: str) -> tuple[int, bytes]:
        self.requests.append(path)
        kind, _, rest = path.strip("/").partition("/")
        if kind == "simple" and rest in self.pages:
            return 200, self.pages[rest].encode()
        if kind == "simple" and rest in self.files:
            anchors = (f'<a href="../../files/{rest}/{name}#sha256=0">{name}</a>' for name in self.files[rest])
            return 200, "\n".join(["<!DOCTYPE html><html><body>", *anchors, "</body></html>"]).encode()
        project, _, name = rest.partition("/")
        if kind == "files" and name in self.files.get(project, {}):
            return 200, self.files[project][name]
        return 404, b"no such page"

    def __enter__(self) -> PackageIndex:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def uv_wheel(version: str, body: str = "") -> bytes:
    """A wheel of uv whose binary is a shell script."""
    script = f'#!/bin/sh\n[ "$1" = --version ] && echo "uv {version} (fake)" && exit\n{body}\n'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("uv/__init__.py", "")
        archive.writestr(f"uv-{version}.data/scripts/uvx", "#!/bin/sh\n")
        archive.writestr(f"uv-{version}.data/scripts/uv", script)
        archive.writestr(f"uv-{version}.dist-info/METADATA", f"Name: uv\nVersion: {version}\n")
    return buffer.getvalue()


def _handler(index: PackageIndex) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = index.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are in `PackageIndex.requests`."""

    return Handler
