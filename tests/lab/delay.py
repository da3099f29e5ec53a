"""A far host: a TCP proxy that delays what passes, and can cut it."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress

CHUNK = 65536


class DelayProxy:
    """Listens on `address:port`; every byte takes `delay` seconds longer, each way. Use as a `with` block."""

    address = "127.0.0.1"

    def __init__(self, target: tuple[str, int], delay: float = 0.0) -> None:
        self.target = target
        self.delay = delay
        self.port = 0
        self.passed = 0  # bytes, both ways together
        self._limit: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="delay-proxy", daemon=True)

    def __enter__(self) -> DelayProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset all open connections; new ones are accepted."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    def cut_after(self, size: int) -> None:
        """Cut, once, when `size` more bytes have passed."""
        self._limit = self.passed + size

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connect, self.address, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await asyncio.sleep(2 * self.delay)  # the handshake, which the client had with us for nothing
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        for each in (writer, far_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(ConnectionError):
            await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        for each in (writer, far_writer):
            self._writers.discard(each)
            each.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes wait in a queue, so that a long line holds many of them at once, as a real one does."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1024)

        async def arrive() -> None:
            while True:
                due, data = await line.get()
                await asyncio.sleep(due - self._loop.time())
                if not data:
                    with suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        async def depart() -> None:
            while data := await reader.read(CHUNK):
                data = await self._count(data, writer)
                await line.put((self._loop.time() + self.delay, data))
            await line.put((self._loop.time() + self.delay, b""))

        await asyncio.gather(arrive(), depart())

    async def _count(self, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        """Count what passes; at the limit, let the first part through and cut."""
        self.passed += len(data)
        if self._limit is not None and self.passed >= self._limit:
            keep = len(data) - (self.passed - self._limit)
            self._limit = None
            writer.write(data[:keep])
            with suppress(ConnectionError):
                await writer.drain()
            await self._cut()
            raise ConnectionResetError("cut")
        return data
