"""Raw TCP: bytes come back; with a banner it is a protocol in which the server speaks first."""

from __future__ import annotations

import asyncio
import socket
import struct

from meshlab.samples.echo.report import CHUNK, Settings


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, banner: bytes, settings: Settings) -> None:
    """One connection. One that is to fail is reset."""
    try:
        if settings.fails():
            return _reset(writer)
        if settings.delay_ms:
            await asyncio.sleep(settings.delay_ms / 1000)
        writer.write(banner)
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
    return None


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    wire = writer.get_extra_info("socket")
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
