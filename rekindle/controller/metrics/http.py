"""``GET /metrics`` for Prometheus, where an operator asked for it. HTTP/1.1, nothing else.

There is no token: whoever reaches the address may read names of apps and functions and how busy
they are, so it is this machine's alone unless the operator names another.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Awaitable, Callable

from rekindle.controller.settings import parse_address
from rekindle.exception import SetupError
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_MAX_HEAD = 16 * 1024
_MAX_CONNECTIONS = 16
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsHttp:
    """A listener that answers with ``text()``."""

    def __init__(self, text: Callable[[], Awaitable[str]]) -> None:
        self._text = text
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, address: str) -> int:
        """Listen; the port. Raises InvalidError or SetupError, which say what to do."""
        host, port = parse_address(address)
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, limit=_MAX_HEAD, reuse_address=True
            )
        except OSError as error:
            raise SetupError(
                f"metrics cannot be served on {address}: {error.strerror or error}; choose another "
                f"address with `rekindle up --metrics HOST:PORT` (or REKINDLE_METRICS), or unset it"
            ) from error
        bound: int = self._server.sockets[0].getsockname()[1]
        log.info("serving metrics", extra=kv(host=host, port=bound))
        return bound

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is None:
            return
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
            status, body, more = await self._answer(head.decode("latin-1"))
            lines = [
                f"HTTP/1.1 {status}",
                f"Content-Length: {len(body)}",
                "Connection: close",
                *more,
            ]
            if head.startswith(b"HEAD "):
                body = b""
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            async with asyncio.timeout(_PATIENCE_S):
                await writer.drain()
        except (
            TimeoutError,
            ConnectionError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ) as error:
            log.debug("a scrape broke off", extra=kv(reason=repr(error)))
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, head: str) -> tuple[str, bytes, list[str]]:
        plain = ["Content-Type: text/plain; charset=utf-8"]
        words = head.split("\r\n", 1)[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "400 Bad Request", b"not an HTTP request\n", plain
        if words[0] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", b"only GET\n", [*plain, "Allow: GET, HEAD"]
        if words[1].partition("?")[0] not in ("/metrics", "/metrics/"):
            return "404 Not Found", b"the metrics are at /metrics\n", plain
        if len(self._open) > _MAX_CONNECTIONS:
            return "503 Service Unavailable", b"too many scrapes at once\n", plain
        try:
            text = await self._text()
        except Exception as error:
            log.exception("no metrics", extra=kv(reason=error))
            return "500 Internal Server Error", f"no metrics: {error}\n".encode(), plain
        more = [f"Content-Type: {_TYPE}"]
        body = text.encode()
        if _wants_gzip(head):
            body = await asyncio.to_thread(gzip.compress, body, 1)
            more.append("Content-Encoding: gzip")
        return "200 OK", body, more


def _wants_gzip(head: str) -> bool:
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "accept-encoding":
            return "gzip" in value.lower()
    return False
