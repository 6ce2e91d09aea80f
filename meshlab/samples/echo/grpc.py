"""gRPC without its library: length-prefixed messages in, the same messages out, the status in the trailers.

`/meshlab.Echo/Stream` answers each message when it comes (bidirectional), `/meshlab.Echo/Repeat` the first one `count`
times (server streaming); every other method is unary.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from meshlab.samples.echo.report import Settings, decide

if TYPE_CHECKING:
    from meshlab.samples.echo.http2 import Stream

_PREFIX = struct.Struct(">BI")
_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN, _REPEATS = 2, 3


def status_of(status: int) -> int:
    """A gRPC status as it is, an HTTP one as gRPC maps it (its http-grpc-status-mapping)."""
    return status if status <= 16 else 0 if 200 <= status < 300 else _OF_HTTP.get(status, _UNKNOWN)


async def serve(stream: Stream, settings: Settings) -> None:
    """One call. One that is to fail ends without a message."""
    status = status_of(await decide(stream.seen, settings))
    if status:
        stream.head(
            [(":status", "200"), ("content-type", "application/grpc"), *_trailers(status, "told to fail")], end=True
        )
        return
    stream.head([(":status", "200"), ("content-type", "application/grpc")])
    method = stream.seen.path.rsplit("/", 1)[-1]
    async for message in _messages(stream):
        for _ in range(int(stream.seen.number("count")) or _REPEATS if method == "Repeat" else 1):
            await stream.body(message)
        if method == "Repeat":
            break
    stream.head(_trailers(0, ""), end=True)


def _trailers(status: int, text: str) -> list[tuple[str, str]]:
    return [("grpc-status", str(status)), *([("grpc-message", text)] if text else [])]


async def _messages(stream: Stream) -> AsyncIterator[bytes]:
    """Whole messages, each with its prefix."""
    held = bytearray()
    while data := await stream.read():
        held += data
        while len(held) >= _PREFIX.size:
            size = _PREFIX.size + _PREFIX.unpack_from(held)[1]
            if len(held) < size:
                break
            yield bytes(held[:size])
            del held[:size]
