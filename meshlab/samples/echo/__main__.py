"""Listen, tell protocols apart, end well."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

from meshlab.samples.echo import tcp
from meshlab.samples.echo.report import CHUNK, Settings

_PREFACE = b"PRI * HTTP/2.0"
_END_S = 2.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: Settings) -> None:
    """One connection to the HTTP port."""
    client = str((writer.get_extra_info("peername") or ("?",))[0])
    try:
        first = await reader.read(CHUNK)
        while len(first) < len(_PREFACE) and _PREFACE.startswith(first) and (more := await reader.read(CHUNK)):
            first += more
        if first.startswith(_PREFACE):
            from meshlab.samples.echo import http2

            await http2.Connection(reader, writer, client).serve(first, settings)
        elif first:
            from meshlab.samples.echo import http1

            await http1.Connection(reader, writer, client).serve(first, settings)
    except OSError:
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve until SIGTERM, then let what runs finish, for a short while."""
    settings = Settings()
    running: set[asyncio.Task[None]] = set()

    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            running.add(task)
            task.add_done_callback(running.discard)
        await serve(reader, writer, settings)

    def raw(banner: bytes) -> Serve:
        return lambda reader, writer: tcp.serve(reader, writer, banner, settings)

    servers = [await asyncio.start_server(http, "0.0.0.0", settings.port, backlog=1024)]
    for variable, banner in (("TCP_PORT", b""), ("BANNER_PORT", f"220 {settings.name} ready\r\n".encode())):
        if port := os.environ.get(variable):
            servers.append(await asyncio.start_server(raw(banner), "0.0.0.0", int(port)))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print(f"{settings.name} listens on {settings.port}", flush=True)
    await ended.wait()
    for server in servers:
        server.close()
    if running:
        await asyncio.wait(running, timeout=_END_S)


if __name__ == "__main__":
    asyncio.run(main())
