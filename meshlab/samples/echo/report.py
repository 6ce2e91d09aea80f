"""What the echo answers, whatever the protocol: settings, the request as seen, the decision, the report."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

PASSED_ON = ("traceparent", "tracestate", "x-request-id", "baggage")
Headers = list[tuple[str, str]]
CHUNK = 65536
_UPSTREAM_S = 15.0


@dataclass
class Settings:
    name: str = os.environ.get("NAME", "echo")
    port: int = int(os.environ.get("PORT", "8080"))
    upstreams: tuple[str, ...] = tuple(filter(None, os.environ.get("UPSTREAMS", "").split(",")))
    fail_every: int = int(os.environ.get("FAIL_EVERY", "0"))
    fail_status: int = int(os.environ.get("FAIL_STATUS", "503"))
    delay_ms: float = float(os.environ.get("DELAY_MS", "0"))
    seen: int = 0

    def fails(self) -> bool:
        """Counts one more; is it the turn of a failure?"""
        self.seen += 1
        return bool(self.fail_every) and self.seen % self.fail_every == 0


@dataclass
class Seen:
    """One request, of any protocol. Of its body only the length is kept."""

    method: str
    target: str
    headers: Headers
    client: str
    protocol: str
    body_bytes: int = 0
    query: dict[str, list[str]] = field(init=False)
    path: str = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        self.path, self.query = parts.path, parse_qs(parts.query)

    @property
    def is_probe(self) -> bool:
        return self.path in ("/healthz", "/readyz")

    def number(self, name: str) -> float:
        """A per-request option, from the query or from its header; 0 where there is none or it is no number."""
        given = self.query.get(name) or [value for key, value in self.headers if key == f"echo-{name}"]
        try:
            return max(0.0, float(given[0])) if given else 0.0
        except ValueError:
            return 0.0


@dataclass(frozen=True)
class Answer:
    """`size` counts when there is no `content`: that many bytes of filling."""

    status: int
    content: bytes = b""
    size: int = 0

    def __len__(self) -> int:
        return len(self.content) or self.size

    def chunks(self) -> Iterator[bytes]:
        """The body, in pieces that need no more memory for a big one."""
        if self.content:
            yield self.content
            return
        for start in range(0, self.size, CHUNK):
            yield b"x" * min(CHUNK, self.size - start)


async def decide(seen: Seen, settings: Settings) -> int:
    """Waits as told; the status that was asked for, or the one of the n-th failure, or 0 for "as usual"."""
    failed = settings.fails()
    delay = seen.number("delay") or settings.delay_ms
    if delay:
        await asyncio.sleep(delay / 1000)
    return settings.fail_status if failed else int(seen.number("status"))


async def answer(seen: Seen, settings: Settings) -> Answer:
    """The answer to an HTTP request. A status that HTTP cannot end with is the caller's error."""
    if seen.is_probe:
        return Answer(200, b'{"ok": true}\n')
    status = await decide(seen, settings) or 200
    if not 200 <= status <= 599:
        return Answer(400, b'{"error": "status: expected 200 to 599"}\n')
    if size := int(seen.number("bytes")):
        return Answer(status, size=size)
    passed = [(key, value) for key, value in seen.headers if key in PASSED_ON]
    return Answer(status, _report(seen, settings, [await call(url, passed) for url in settings.upstreams]))


def _report(seen: Seen, settings: Settings, upstreams: list[dict[str, object]]) -> bytes:
    report = {
        "name": settings.name,
        "pod": os.environ.get("POD_NAME", socket.gethostname()),
        "namespace": os.environ.get("POD_NAMESPACE", ""),
        "method": seen.method,
        "path": seen.path,
        "query": seen.query,
        "headers": dict(seen.headers),
        "client": seen.client,
        "protocol": seen.protocol,
        "body_bytes": seen.body_bytes,
        "upstreams": upstreams,
    }
    return (json.dumps(report) + "\n").encode()


async def call(url: str, headers: Headers) -> dict[str, object]:
    """GET a URL; what came back, or the error's name."""
    try:
        async with asyncio.timeout(_UPSTREAM_S):
            return {"url": url, "status": await _get(url, headers)}
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
        return {"url": url, "error": type(error).__name__}


async def _get(url: str, headers: Headers) -> int:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        lines = [f"GET {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"{key}: {value}" for key, value in headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        async for _ in _rest(reader):
            pass
        return int(head.split(maxsplit=2)[1])
    finally:
        writer.close()


async def _rest(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(CHUNK):
        yield data
