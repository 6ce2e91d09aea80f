"""`python -m meshlab.bench.poller SECONDS INTERVAL_MS HOST:PORT...`, inside a pod: one keep-alive connection to each
address, a request each interval; prints JSON rows [address, time sent (Unix ns), status]."""

from __future__ import annotations

import asyncio
import json
import sys
import time

Rows = list[tuple[str, int, int]]


async def _poll(address: str, until: float, interval_s: float, rows: Rows) -> None:
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    while time.monotonic() < until:
        sent = time.time_ns()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        await reader.readexactly(size)
        rows.append((address, sent, int(head.split(b" ", 2)[1])))
        await asyncio.sleep(max(0.0, interval_s - (time.time_ns() - sent) / 1e9))
    writer.close()


async def main(seconds: float, interval_ms: float, addresses: list[str]) -> None:
    rows: Rows = []
    until = time.monotonic() + seconds
    await asyncio.gather(*(_poll(address, until, interval_ms / 1000, rows) for address in addresses))
    print(json.dumps(rows))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
