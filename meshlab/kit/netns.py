"""Sockets inside another network namespace, without a process of its own there."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
from collections.abc import Iterator

from meshlab.kit.files import opened

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """The calling thread, and no other, is in the namespace at path `netns` (setns(2)); "" stays where it is."""
    if not netns:
        yield
        return
    with opened("/proc/thread-self/ns/net") as home, opened(netns) as there:
        _enter(there)
        try:
            yield
        finally:
            _enter(home)


def socket_in(netns: str, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET) -> socket.socket:
    """A socket that belongs to the namespace at path `netns` for ever; the calling thread comes back at once."""
    with inside(netns):
        return socket.socket(family, kind)


async def http_status(
    netns: str, host: str, port: int, path: str, *, method: str = "GET", timeout_s: float = 1.0
) -> int:
    """The status of one HTTP/1.1 request made inside a namespace. OSError or TimeoutError where nothing answers."""

    async def ask() -> int:
        sock = socket_in(netns)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            reader, writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: meshlab-probe\r\n"
                "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
            words = (await reader.readline()).split()
            if len(words) < 2 or not words[1].isdigit():
                raise OSError("no HTTP answer")
            return int(words[1])
        finally:
            writer.close()

    return await asyncio.wait_for(ask(), timeout_s)


async def tcp_connects(netns: str, host: str, port: int, *, timeout_s: float = 1.0) -> None:
    """OSError or TimeoutError unless a connection can be made inside a namespace."""
    with socket_in(netns) as sock:
        sock.setblocking(False)
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, (host, port)), timeout_s)
