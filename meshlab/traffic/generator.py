"""`python -m meshlab.traffic.generator --output FILE`, inside a pod; the spec comes on stdin.

Open loop: each request is sent when it is due, whatever became of those before it, and its latency counts from then
(no coordinated omission). Writes one fixed-size record per request, then a line of JSON on stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import secrets
import struct
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from meshlab.traffic.profiles import schedule
from meshlab.traffic.spec import TrafficSpec

RECORD = struct.Struct("<QQQHHI16s")
"""due (Unix ns), sent (Unix ns), latency from due (ns), status (0: none), error number, body bytes, trace id."""
ERRORS = ("", "timeout", "connect", "reset", "dns", "protocol")
MAGIC = b"meshlab-traffic-1\n"
_IDLE_KEPT = 512


class Failed(Exception):
    """One request failed; the name is one of `ERRORS`."""


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: bool = False


class Client:
    """A pool of HTTP/1.1 keep-alive connections to one host."""

    def __init__(self, spec: TrafficSpec) -> None:
        parts = urlsplit(spec.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        named = {key.lower() for key, _ in spec.headers}
        lines = [f"{spec.method} {target} HTTP/1.1"]
        lines += [] if "host" in named else [f"Host: {parts.netloc}"]
        lines += [f"{key}: {value}" for key, value in spec.headers]
        body = spec.body.encode()
        lines += [f"Content-Length: {len(body)}"] if body or spec.method in ("POST", "PUT", "PATCH") else []
        self._head = "\r\n".join(lines).encode() + b"\r\ntraceparent: 00-"
        self._tail = b"-01\r\n\r\n" + body
        self._no_body = spec.method == "HEAD"
        self._idle: list[Connection] = []

    async def request(self, trace: bytes) -> tuple[int, int]:
        """Status and body bytes. Failed names what went wrong; a kept connection that had just closed is replaced."""
        message = self._head + trace.hex().encode() + b"-" + trace[:8].hex().encode() + self._tail
        while True:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                connection.writer.write(message)
                return await self._read(connection)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                connection.writer.close()
                nothing = not isinstance(error, asyncio.IncompleteReadError) or not error.partial
                if connection.used and nothing:
                    continue
                raise Failed("reset") from error
            except (ValueError, asyncio.LimitOverrunError) as error:  # a length that is none, a head without end
                connection.writer.close()
                raise Failed("protocol") from error
            except BaseException:
                connection.writer.close()
                raise

    async def _connect(self) -> Connection:
        import socket

        try:
            return Connection(*await asyncio.open_connection(self._host, self._port))
        except (socket.gaierror, UnicodeError) as error:
            raise Failed("dns") from error
        except OSError as error:
            raise Failed("connect") from error

    async def _read(self, connection: Connection) -> tuple[int, int]:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        try:
            status = int(lines[0].split(b" ", 2)[1])
        except (IndexError, ValueError):
            raise Failed("protocol") from None
        fields = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
        size = await self._body(connection, status, fields)
        if fields.get(b"connection", b"").strip() == b"close" or len(self._idle) >= _IDLE_KEPT:
            connection.writer.close()
        else:
            connection.used = True
            self._idle.append(connection)
        return status, size

    async def _body(self, connection: Connection, status: int, fields: dict[bytes, bytes]) -> int:
        if self._no_body or status in (204, 304):
            return 0
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            total = 0
            while size := int((await connection.reader.readline()).split(b";")[0], 16):
                await connection.reader.readexactly(size + 2)
                total += size
            while await connection.reader.readline() not in (b"\r\n", b""):  # trailers
                pass
            return total
        if b"content-length" in fields:
            return len(await connection.reader.readexactly(int(fields[b"content-length"])))
        fields[b"connection"] = b"close"
        return len(await connection.reader.read())


@dataclass
class Account:
    """What the generator says of itself, beside the records."""

    cpu_share: float = 0.0
    """CPU time over wall time: near 1 there was none left to be on time with."""
    unsent: int = 0
    """Due, but still waiting for a place in flight when the run had to end."""


async def fire(spec: TrafficSpec, output: Path) -> None:
    """Send everything; the records are on disk when this returns."""
    client, records, account = Client(spec), bytearray(), Account()
    offset = time.time_ns() - time.perf_counter_ns()
    due_times = schedule(spec)
    start = time.perf_counter_ns() + 50_000_000
    last = start + round((spec.duration_s + spec.timeout_s) * 1e9)
    room = asyncio.Semaphore(spec.max_in_flight)
    pending: set[asyncio.Task[None]] = set()

    async def one(due: int) -> None:
        sent, trace = time.perf_counter_ns(), secrets.token_bytes(16)
        status, size, error = 0, 0, 0
        try:
            status, size = await asyncio.wait_for(client.request(trace), spec.timeout_s)
        except TimeoutError:
            error = ERRORS.index("timeout")
        except Failed as failed:
            error = ERRORS.index(str(failed))
        records.extend(
            RECORD.pack(due + offset, sent + offset, time.perf_counter_ns() - due, status, error, size, trace)
        )
        room.release()

    busy, began = time.process_time(), time.perf_counter()
    for index, at in enumerate(due_times):
        due = start + round(at * 1e9)
        wait = (due - time.perf_counter_ns()) / 1e9
        if wait > 0:
            await asyncio.sleep(wait)
        await room.acquire()
        if time.perf_counter_ns() > last:
            account.unsent = len(due_times) - index
            break
        task = asyncio.create_task(one(due))
        pending.add(task)
        task.add_done_callback(pending.discard)
    account.cpu_share = (time.process_time() - busy) / (time.perf_counter() - began)
    if pending:
        await asyncio.wait(pending)
    head = json.dumps({**json.loads(spec.to_json()), "generator": asdict(account)})
    output.write_bytes(MAGIC + head.encode() + b"\n" + bytes(records))


def _many_sockets() -> None:
    """As many as we may: a pod that runs out of them must not look like a mesh that refuses connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    output: Path = parser.parse_args().output
    _many_sockets()
    asyncio.run(fire(TrafficSpec.from_json(sys.stdin.read()), output))
    print(json.dumps({"done": str(output)}))


if __name__ == "__main__":
    main()
