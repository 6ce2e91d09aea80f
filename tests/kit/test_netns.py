"""Sockets of another network namespace, without leaving one's own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from meshlab.kit import netns
from meshlab.kit.ledger import remove_netns


@pytest.fixture
def space(lab_name: Callable[[], str]) -> Iterator[str]:
    """The path of a new network namespace with its loopback up."""
    name = f"ml-{lab_name()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield f"/run/netns/{name}"
    remove_netns(name)


def listen(space: str) -> socket.socket:
    found = netns.socket_in(space)
    found.bind(("127.0.0.1", 0))
    found.listen()
    return found


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_a_socket_belongs_to_the_namespace_and_the_thread_comes_back(space: str) -> None:
    before = here()
    with listen(space) as server:
        assert here() == before
        port = server.getsockname()[1]
        with socket.socket() as outside, pytest.raises(ConnectionRefusedError):
            outside.connect(("127.0.0.1", port))
        with netns.socket_in(space) as inside:
            inside.connect(("127.0.0.1", port))


def test_the_thread_comes_back_after_an_error(space: str) -> None:
    before = here()
    with pytest.raises(FileNotFoundError):
        netns.socket_in("/run/netns/ml-no-such")
    with pytest.raises(OSError, match=r"Invalid argument|not supported"):
        netns.socket_in(space, family=socket.AF_UNIX, kind=99)
    with pytest.raises(OSError, match="Invalid argument"):
        netns.socket_in("/dev/null")  # opens, and is no namespace
    assert here() == before


def test_other_threads_stay_where_they_are(space: str) -> None:
    """Each thread asks for a socket again and again; none ever sees itself moved."""
    before, moved = here(), []

    def work() -> None:
        for _ in range(101):
            netns.socket_in(space).close()
            if here() != before:
                moved.append(threading.get_ident())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert moved == []


async def answering(space: str, answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    seen: list[bytes] = []
    server = await asyncio.start_server(serve, sock=listen(space))
    server.seen = seen  # type: ignore[attr-defined]
    return server


async def test_http_status_asks_inside_the_namespace(space: str) -> None:
    async with await answering(space, b"HTTP/1.1 503 no\r\n\r\n") as server:
        port = server.sockets[0].getsockname()[1]
        assert await netns.http_status(space, "127.0.0.1", port, "/a?b=c", method="POST") == 503
    [request] = server.seen  # type: ignore[attr-defined]
    assert request.startswith(b"POST /a?b=c HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in request


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 many\r\n"])
async def test_what_is_not_http_is_an_os_error(space: str, answer: bytes) -> None:
    async with await answering(space, answer) as server:
        with pytest.raises(OSError, match="no HTTP answer"):
            await netns.http_status(space, "127.0.0.1", server.sockets[0].getsockname()[1], "/")


async def test_a_server_that_never_answers_times_out(space: str) -> None:
    with listen(space) as server, pytest.raises(TimeoutError):
        await netns.http_status(space, "127.0.0.1", server.getsockname()[1], "/", timeout_s=0.05)


async def test_tcp_connects_says_nothing_or_raises(space: str) -> None:
    with listen(space) as server:
        port = server.getsockname()[1]
        await netns.tcp_connects(space, "127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        await netns.tcp_connects(space, "127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        await netns.http_status(space, "127.0.0.1", port, "/")
