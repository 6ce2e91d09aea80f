"""The generator against real servers on loopback: reuse, every way to end a body, every way to fail, and no
coordinated omission."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from meshlab.errors import MeshlabError
from meshlab.traffic import results
from meshlab.traffic.generator import fire
from meshlab.traffic.spec import TrafficSpec

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Answer = Callable[[int], Awaitable[bytes | None]]
"""The answer to the n-th request (from 0); None closes without one, an answer that ends with CLOSE closes after it."""
CLOSE = b"<close>"


@dataclass
class Server:
    url: str = ""
    connections: int = 0
    heads: list[bytes] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Server]:
    found = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                number = len(found.heads)
                found.heads.append(head)
                async with found.arrived:
                    found.arrived.notify_all()
                text = await answer(number)
                writer.write((text or CLOSE).removesuffix(CLOSE))
                await writer.drain()
                if text is None or text.endswith(CLOSE):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        yield found


def always(text: bytes | None) -> Answer:
    async def answer(_: int) -> bytes | None:
        return text

    return answer


async def load(url: str, tmp_path: Path, **options: Any) -> pd.DataFrame:
    """Fire 29 requests in 0.29 s, unless told otherwise; the frame of what came of them, in the order they were due."""
    output = tmp_path / "records"
    await fire(TrafficSpec(url, **{"rate": 100.0, "duration_s": 0.29, "timeout_s": 5.0, **options}), output)
    return results.read(output).frame.sort_values("scheduled", ignore_index=True)


async def test_every_request_is_sent_and_connections_are_used_again(tmp_path: Path) -> None:
    async with serving(always(OK)) as server:
        frame = await load(server.url, tmp_path)
    assert (frame["status"] == 200).sum() == len(server.heads) == 29
    assert set(frame["body_bytes"]) == {2}
    assert server.connections < 29


async def test_a_request_is_what_was_asked_for_and_has_a_trace_of_its_own(tmp_path: Path) -> None:
    async with serving(always(OK)) as server:
        frame = await load(
            f"{server.url}a/b?c=d",
            tmp_path,
            method="PUT",
            headers=(("X-User", "ada"), ("Host", "shop")),
            duration_s=0.05,
        )
    head = server.heads[0].decode()
    assert head.startswith("PUT /a/b?c=d HTTP/1.1\r\n")
    assert "X-User: ada\r\n" in head
    assert [line for line in head.split("\r\n") if line.lower().startswith("host:")] == ["Host: shop"]
    assert "Content-Length: 0\r\n" in head
    seen = {head.split(b"traceparent: 00-")[1].split(b"-")[0].decode() for head in server.heads}
    assert seen == set(frame["trace_id"])
    assert len(seen) == len(frame) == 5


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n", 11),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n1\r\nx\r\n0\r\na: b\r\nc: d\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\ncontent-length:3\r\n\r\nabc", 3),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 0),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 0),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end" + CLOSE, 13),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx" + CLOSE, 1),
    ],
    ids=["chunked", "trailers", "length", "204", "304", "until close", "says close"],
)
async def test_every_way_to_end_a_body_is_understood(tmp_path: Path, text: bytes, size: int) -> None:
    async with serving(always(text)) as server:
        frame = await load(server.url, tmp_path)
    assert set(frame["error"]) == {""}
    assert len(server.heads) == 29
    assert set(frame["body_bytes"]) == {size}
    assert (server.connections == 29) is text.endswith(CLOSE)


async def test_the_answer_to_head_has_no_body(tmp_path: Path) -> None:
    async with serving(always(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")) as server:
        frame = await load(server.url, tmp_path, method="HEAD")
    assert set(frame["status"]) == {200}
    assert set(frame["body_bytes"]) == {0}


async def test_a_server_that_closes_idle_connections_loses_no_request(tmp_path: Path) -> None:
    """It answers as if it kept the connection and then closes it: the next request finds out and goes again."""
    async with serving(always(OK + CLOSE)) as server:
        frame = await load(server.url, tmp_path)
    assert set(frame["status"]) == {200}
    assert len(frame) == 29
    assert server.connections == 29


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "reset"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" + CLOSE, "reset"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe" + CLOSE, "reset"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol"),
        (b"HTTP/1.1 many\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "protocol"),
    ],
    ids=[
        "closes",
        "half a body",
        "half a chunk",
        "not HTTP",
        "no status",
        "no length",
        "no chunk size",
        "endless head",
    ],
)
async def test_what_goes_wrong_is_counted_and_named(tmp_path: Path, text: bytes | None, error: str) -> None:
    async with serving(always(text)) as server:
        frame = await load(server.url, tmp_path)
    assert len(frame) == 29
    assert set(frame["status"]) == {0}
    assert set(frame["error"]) == {error}


async def test_what_is_never_answered_times_out(tmp_path: Path) -> None:
    async with serving(lambda _: asyncio.Event().wait()) as server:  # type: ignore[arg-type, return-value]
        frame = await load(server.url, tmp_path, timeout_s=0.1)
    assert set(frame["error"]) == {"timeout"}
    assert len(frame) == 29
    assert (frame["latency_ms"] >= 100).all()


async def test_where_nobody_listens_there_is_no_result(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(MeshlabError, match=r"ever connected \(connect\)"):
            await load(f"http://127.0.0.1:{closed.getsockname()[1]}/", tmp_path)


async def test_a_name_that_is_none_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(MeshlabError, match=r"ever connected \(dns\)"):
        await load("http://a..b/", tmp_path)


async def test_a_server_that_stalls_once_shows_in_all_that_were_due_meanwhile(tmp_path: Path) -> None:
    """Its answers from the 10th on wait until the 60th request has arrived. Whoever waits for an answer before sending
    the next would see one slow request (and here: hang); these go out when they are due, and each of them waits."""
    first, last, rate = 10, 60, 200.0

    async def answer(number: int) -> bytes:
        if number >= first:
            async with server.arrived:
                await server.arrived.wait_for(lambda: len(server.heads) > last)
        return OK

    async with serving(answer) as server:
        frame = await load(server.url, tmp_path, rate=rate, duration_s=0.5)
    assert set(frame["status"]) == {200}
    assert len(frame) == 100
    # of the first 61 to arrive one was due 60th or later: nobody is let go before then, but the first 10
    waited = [frame["latency_ms"][number] >= (last - number) / rate * 1000 - 0.01 for number in range(last)]
    assert sum(waited) >= last - first
    assert frame["latency_ms"].quantile(0.9) >= 0.5 * (last - first) / rate * 1000


async def test_latency_counts_from_when_a_request_was_due(tmp_path: Path) -> None:
    async with serving(always(OK)) as server:
        frame = await load(server.url, tmp_path)
    late_ms = (frame["sent"] - frame["scheduled"]).dt.total_seconds() * 1000
    assert (late_ms >= 0).all()
    assert (frame["latency_ms"] > late_ms).all()


async def test_as_a_process_it_reads_its_orders_from_stdin(tmp_path: Path) -> None:
    output = tmp_path / "records"
    async with serving(always(OK)) as server:
        spec = TrafficSpec(server.url, rate=100.0, duration_s=0.13)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "meshlab.traffic.generator", "--output", str(output),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate(spec.to_json().encode())
    assert json.loads(out) == {"done": str(output)}
    assert process.returncode == 0
    assert results.read(output).summary["ok"] == len(server.heads) == 13
