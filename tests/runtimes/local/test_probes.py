"""Probes: what counts as a pass, asked of real servers inside a namespace."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from meshlab.kit.ledger import remove_netns
from meshlab.kit.netns import socket_in
from meshlab.model.workloads import Probe
from meshlab.runtimes.local import probes


async def no_command(_: Sequence[str], __: float) -> int:
    raise AssertionError


async def passes(space: str, probe: Probe, port: int) -> bool:
    return await probes.passes(probe, space, "127.0.0.1", {"http": port}, no_command)


@pytest.fixture
async def server(lab_name: Callable[[], str]) -> AsyncIterator[tuple[str, int]]:
    """Namespace and port of a server that answers the status that the path names; `/0` is never answered."""
    name = f"ml-{lab_name()}"
    await asyncio.to_thread(subprocess.run, ["ip", "netns", "add", name], check=True)
    await asyncio.to_thread(subprocess.run, ["ip", "-n", name, "link", "set", "lo", "up"], check=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        if path != "/0":
            writer.write(f"HTTP/1.1 {path[1:]} x\r\n\r\n".encode())
            writer.close()

    sock = socket_in(f"/run/netns/{name}")
    sock.bind(("127.0.0.1", 0))
    async with await asyncio.start_server(serve, sock=sock):
        yield f"/run/netns/{name}", sock.getsockname()[1]
    remove_netns(name)


@pytest.mark.parametrize(
    ("status", "good"), [(200, True), (204, True), (302, True), (399, True), (400, False), (404, False), (503, False)]
)
async def test_http_passes_from_200_to_399(server: tuple[str, int], status: int, good: bool) -> None:
    space, port = server
    assert await passes(space, Probe(path=f"/{status}", port=port), port) is good
    assert await passes(space, Probe(path=f"/{status}", port="http"), port) is good


async def test_what_does_not_answer_in_time_fails(server: tuple[str, int]) -> None:
    space, port = server
    assert not await passes(space, Probe(path="/0", port=port, timeout_s=0.05), port)


async def test_tcp_passes_where_a_connection_can_be_made(server: tuple[str, int]) -> None:
    space, port = server
    assert await passes(space, Probe(port=port), port)
    assert not await passes(space, Probe(port=1), port)
    assert not await passes(space, Probe(port="no-such-name"), port)


@pytest.mark.parametrize(("code", "good"), [(0, True), (1, False), (127, False)])
async def test_a_command_passes_with_0(code: int, good: bool) -> None:
    asked: list[tuple[Sequence[str], float]] = []

    async def execute(command: Sequence[str], timeout_s: float) -> int:
        asked.append((command, timeout_s))
        return code

    probe = Probe(command=("true", "x"), timeout_s=3.0)
    assert await probes.passes(probe, "/none", "127.0.0.1", {}, execute) is good
    assert asked == [(("true", "x"), 3.0)]


async def test_a_command_that_takes_too_long_fails() -> None:
    async def execute(_: Sequence[str], __: float) -> int:
        raise TimeoutError

    assert not await probes.passes(Probe(command=("sleep",)), "/none", "127.0.0.1", {}, execute)
