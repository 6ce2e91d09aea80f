"""`meshlab/echo`: reports all it saw as JSON; can be told to delay, to fail, to answer any status.

HTTP/1.1 and, told apart by the first bytes, HTTP/2 with prior knowledge and unary gRPC, on one port. Environment:
NAME, PORT (8080), UPSTREAMS (URLs called for each request, trace context passed on), FAIL_EVERY (n: every n-th request
fails), FAIL_STATUS (503), DELAY_MS, TCP_PORT (echoes bytes), BANNER_PORT (speaks first, then echoes).
Per request: `?status=`, `?delay=` (ms), `?bytes=`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

_PREFACE = b"PRI * HTTP/2.0"
_PASSED_ON = ("traceparent", "tracestate", "x-request-id", "baggage")
Headers = list[tuple[str, str]]


@dataclass
class Settings:
    name: str = os.environ.get("NAME", "echo")
    port: int = int(os.environ.get("PORT", "8080"))
    upstreams: tuple[str, ...] = tuple(filter(None, os.environ.get("UPSTREAMS", "").split(",")))
    fail_every: int = int(os.environ.get("FAIL_EVERY", "0"))
    fail_status: int = int(os.environ.get("FAIL_STATUS", "503"))
    delay_ms: float = float(os.environ.get("DELAY_MS", "0"))
    seen: int = 0


@dataclass
class Seen:
    """One request, of any protocol."""

    method: str
    target: str
    headers: Headers
    client: str
    protocol: str
    body: bytes = b""
    query: dict[str, list[str]] = field(init=False)
    path: str = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        self.path, self.query = parts.path, parse_qs(parts.query)

    def number(self, name: str) -> float:
        try:
            return float(self.query.get(name, ["0"])[0])
        except ValueError:
            return 0.0


async def answer(seen: Seen, settings: Settings) -> tuple[int, bytes]:
    """Status and body for a request."""
    if seen.path in ("/healthz", "/readyz"):
        return 200, b'{"ok": true}\n'
    settings.seen += 1
    delay = seen.number("delay") or settings.delay_ms
    if delay:
        await asyncio.sleep(delay / 1000)
    status = int(seen.number("status")) or 200
    if settings.fail_every and settings.seen % settings.fail_every == 0:
        status = settings.fail_status
    if seen.number("bytes"):
        return status, b"x" * int(seen.number("bytes"))
    passed = [(key, value) for key, value in seen.headers if key in _PASSED_ON]
    upstreams = [await call(url, passed) for url in settings.upstreams]
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
        "body_bytes": len(seen.body),
        "upstreams": upstreams,
    }
    return status, (json.dumps(report) + "\n").encode()


async def call(url: str, headers: Headers) -> dict[str, object]:
    """GET a URL; what came back, or the error's name."""
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, parts.port or 80), 5)
        lines = [f"GET {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"{key}: {value}" for key, value in headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        await reader.read()
        writer.close()
        return {"url": url, "status": int(head.split(b" ", 2)[1])}
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return {"url": url, "error": type(error).__name__}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: Settings) -> None:
    """One connection."""
    try:
        first = await reader.read(65536)
        speak = _http2 if first.startswith(_PREFACE) else _http1
        await speak(first, reader, writer, settings)
    except (OSError, h11.RemoteProtocolError):
        pass
    finally:
        writer.close()


def _client(writer: asyncio.StreamWriter) -> str:
    return str((writer.get_extra_info("peername") or ("?",))[0])


async def _http1(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: Settings) -> None:
    machine = h11.Connection(h11.SERVER)
    machine.receive_data(first)
    request: h11.Request | None = None
    body = b""
    while True:
        event = machine.next_event()
        if event is h11.NEED_DATA:
            if machine.they_are_waiting_for_100_continue:
                writer.write(machine.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            machine.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = [(key.decode(), value.decode("latin-1")) for key, value in request.headers]
            seen = Seen(request.method.decode(), request.target.decode(), headers, _client(writer), "http1", body)
            status, content = await answer(seen, settings)
            fields = [("content-type", "application/json"), ("content-length", str(len(content)))]
            out = machine.send(h11.Response(status_code=status, headers=fields)) or b""
            if request.method != b"HEAD":
                out += machine.send(h11.Data(data=content)) or b""
            out += machine.send(h11.EndOfMessage()) or b""
            writer.write(out)
            await writer.drain()
            if machine.our_state is h11.MUST_CLOSE:
                return
            machine.start_next_cycle()
        else:
            return


async def _http2(first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: Settings) -> None:
    machine = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    machine.initiate_connection()
    requests: dict[int, tuple[Headers, bytearray]] = {}
    tasks: set[asyncio.Task[None]] = set()
    data = first
    while data:
        for event in machine.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                requests[event.stream_id] = ([(str(k), str(v)) for k, v in event.headers], bytearray())
            elif isinstance(event, h2.events.DataReceived):
                requests[event.stream_id][1].extend(event.data)
                machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                headers, body = requests.pop(event.stream_id)
                task = asyncio.create_task(_reply(machine, writer, event.stream_id, headers, bytes(body), settings))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        writer.write(machine.data_to_send())
        await writer.drain()
        data = await reader.read(65536)


async def _reply(
    machine: h2.connection.H2Connection,
    writer: asyncio.StreamWriter,
    stream: int,
    headers: Headers,
    body: bytes,
    settings: Settings,
) -> None:
    """gRPC (unary: the message comes back as it was) by its content type, plain HTTP/2 otherwise."""
    pseudo = dict(headers)
    rest = [(key, value) for key, value in headers if not key.startswith(":")]
    grpc = pseudo.get("content-type", "").startswith("application/grpc")
    protocol = "grpc" if grpc else "http2"
    seen = Seen(pseudo[":method"], pseudo[":path"], rest, _client(writer), protocol, body)
    status, content = await answer(seen, settings)
    try:
        if grpc:
            machine.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
            machine.send_data(stream, body)
            code = "0" if status == 200 else "14"
            machine.send_headers(stream, [("grpc-status", code)], end_stream=True)
        else:
            machine.send_headers(stream, [(":status", str(status)), ("content-type", "application/json")])
            machine.send_data(stream, content, end_stream=True)
        writer.write(machine.data_to_send())
        await writer.drain()
    except (h2.exceptions.ProtocolError, OSError):
        pass


async def serve_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, banner: bytes) -> None:
    """Echo bytes; a banner makes it a protocol in which the server speaks first."""
    try:
        writer.write(banner)
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve until SIGTERM, then let requests that run finish (at most 5 s)."""
    settings = Settings()
    running: set[asyncio.Task[None]] = set()

    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            running.add(task)
            task.add_done_callback(running.discard)
        await serve(reader, writer, settings)

    servers = [await asyncio.start_server(http, "0.0.0.0", settings.port, backlog=1024)]
    for variable, banner in (("TCP_PORT", b""), ("BANNER_PORT", f"220 {settings.name} ready\r\n".encode())):
        if port := os.environ.get(variable):
            servers.append(
                await asyncio.start_server(lambda r, w, b=banner: serve_tcp(r, w, b), "0.0.0.0", int(port))  # type: ignore[misc]
            )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print(f"{settings.name} listens on {settings.port}", flush=True)
    await ended.wait()
    for server in servers:
        server.close()
    if running:
        await asyncio.wait(running, timeout=2)


if __name__ == "__main__":
    asyncio.run(main())
