"""The lab's DNS: names of Services and pods, over UDP and TCP, on each node's gateway address."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import cast

from dnslib import PTR, QTYPE, RCODE, RR, SRV, A, DNSRecord

from meshlab.kit.netns import socket_in
from meshlab.model.ids import CLUSTER_DOMAIN
from meshlab.model.services import Service
from meshlab.model.world import World

_TTL_S = 5


def answer(query: bytes, world: World) -> bytes:
    """The answer to one query (RFC 1035): A, SRV and PTR of Services and headless pods; NXDOMAIN for other names,
    no data for other types. ValueError-like exceptions of dnslib for what is not DNS."""
    request = DNSRecord.parse(query)
    reply = request.reply()
    name = str(request.q.qname).rstrip(".").lower()
    kind = QTYPE[request.q.qtype]
    records, known = _look_up(name, kind, world)
    for record in records:
        reply.add_answer(RR(request.q.qname, getattr(QTYPE, kind), rdata=record, ttl=_TTL_S))
    if not known:
        reply.header.rcode = RCODE.NXDOMAIN
    packed: bytes = reply.pack()
    return packed


def _look_up(name: str, kind: str, world: World) -> tuple[list[object], bool]:
    if name.endswith(".in-addr.arpa"):
        return _reverse(name, kind, world)
    suffix = f".svc.{CLUSTER_DOMAIN}"
    parts = name.removesuffix(suffix).split(".") if name.endswith(suffix) else []
    port_name = ""
    if len(parts) == 4 and parts[0].startswith("_") and parts[1].startswith("_"):
        port_name, parts = parts[0][1:], parts[2:]
    pod_name = ""
    if len(parts) == 3:
        pod_name, parts = parts[0], parts[1:]
    service = world.mesh.get(Service, parts[1], parts[0]) if len(parts) == 2 else None
    if service is None:
        return [], False
    ready = [endpoint for endpoint in world.selected(service) if endpoint.ready]
    if pod_name:
        ready = [endpoint for endpoint in ready if endpoint.pod.name == pod_name]
        return ([A(e.ip) for e in ready] if kind == "A" else []), bool(ready)
    if kind == "SRV" and port_name:
        found = [port for port in service.ports if port.name == port_name]
        return [SRV(0, 100, port.port, service.host) for port in found], bool(found)
    if kind != "A":
        return [], True
    if service.headless:
        return [A(endpoint.ip) for endpoint in ready], True
    return [A(world.cluster_ips[(service.namespace, service.name)])], True


def _reverse(name: str, kind: str, world: World) -> tuple[list[object], bool]:
    ip = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
    for (namespace, service), address in world.cluster_ips.items():
        if address == ip and kind == "PTR":
            return [PTR(f"{service}.{namespace}.svc.{CLUSTER_DOMAIN}")], True
    return [], False


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, world: Callable[[], World]) -> None:
        self._world = world
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        with contextlib.suppress(Exception):  # what is not DNS gets no answer
            packed = answer(data, self._world())
            if self._transport is not None:
                self._transport.sendto(packed, addr)


async def serve(netns: str, address: str, world: Callable[[], World]) -> None:
    """Serve on port 53 of `address` in the namespace at path `netns`, for as long as the loop runs."""
    udp = socket_in(netns, socket.SOCK_DGRAM)
    udp.bind((address, 53))
    udp.setblocking(False)
    tcp = socket_in(netns)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((address, 53))

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(Exception):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                packed = answer(await reader.readexactly(length), world())
                writer.write(len(packed).to_bytes(2, "big") + packed)
                await writer.drain()
        writer.close()

    await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Udp(world), sock=udp)
    await asyncio.start_server(stream, sock=tcp)
