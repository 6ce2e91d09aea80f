"""The lab's DNS: names of Services and pods, over UDP and TCP, on each node's gateway address."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import cast

from dnslib import EDNS0, PTR, QTYPE, RCODE, RR, SRV, A, DNSRecord

from meshlab.kit.netns import socket_in
from meshlab.model.ids import CLUSTER_DOMAIN
from meshlab.model.services import Service
from meshlab.model.world import Endpoint, World, target_port

_TTL_S = 5
_UDP_BYTES, _EDNS_BYTES = 512, 1232
"""The longest answer over UDP without EDNS (RFC 1035), and the most that we send with it (DNS flag day 2020)."""
_IDLE_S = 10.0

Found = tuple[list[object], bool]
"""The records, and whether the name exists at all."""


def answer(query: bytes, world: World, *, udp: bool = False) -> bytes:
    """The answer to one query (RFC 1035): A, SRV and PTR of Services and headless pods; NXDOMAIN for other names,
    no data for other types. Over UDP an answer that is too long says so (TC), and the client comes by TCP.
    DNSError of dnslib for what is not DNS."""
    request = DNSRecord.parse(query)
    reply = request.reply()
    name = str(request.q.qname).rstrip(".").lower()
    kind = str(QTYPE.get(request.q.qtype))
    records, known = _look_up(name, kind, world)
    for record in records:
        reply.add_answer(RR(request.q.qname, request.q.qtype, rdata=record, ttl=_TTL_S))
    if not known:
        reply.header.rcode = RCODE.NXDOMAIN
    extension = next((record for record in request.ar if record.rtype == QTYPE.OPT), None)
    if extension is not None:
        reply.add_ar(EDNS0(udp_len=_EDNS_BYTES))
    packed: bytes = reply.pack()
    room = min(max(extension.edns_len, _UDP_BYTES), _EDNS_BYTES) if extension is not None else _UDP_BYTES
    if udp and len(packed) > room:
        packed = reply.truncate().pack()
    return packed


def _look_up(name: str, kind: str, world: World) -> Found:
    if name.endswith(".in-addr.arpa"):
        return _reverse(name, kind, world)
    suffix = f"svc.{CLUSTER_DOMAIN}"
    if name in (suffix, CLUSTER_DOMAIN):
        return [], True
    if not name.endswith(f".{suffix}"):
        return [], False
    parts = name.removesuffix(f".{suffix}").split(".")
    services = [service for service in world.mesh.all(Service) if service.namespace == parts[-1]]
    if len(parts) == 1:  # a name that has names below it exists (RFC 8020)
        return [], bool(services)
    service = next((service for service in services if service.name == parts[-2]), None)
    if service is None:
        return [], False
    return _of_service(service, parts[:-2], kind, world)


def _of_service(service: Service, below: list[str], kind: str, world: World) -> Found:
    """A Service's own name (nothing `below`), a pod of it (`pod`), or a port of it (`_port`, `_protocol`)."""
    ready = [endpoint for endpoint in world.selected(service) if endpoint.ready]
    match below:
        case []:
            ip = world.cluster_ips.get((service.namespace, service.name))
            ips = [ip] if ip else [endpoint.ip for endpoint in ready]
            return ([A(ip) for ip in ips] if kind == "A" else []), True
        case [pod]:
            ips = [endpoint.ip for endpoint in ready if endpoint.pod.name == pod]
            return ([A(ip) for ip in ips] if kind == "A" else []), bool(ips)
        case [name, protocol] if name.startswith("_"):
            return _of_port(service, name[1:], protocol[1:], kind, ready)
    return [], False


def _of_port(service: Service, name: str, protocol: str, kind: str, ready: list[Endpoint]) -> Found:
    """SRV: the Service at its port; of a headless one, each ready pod at the pod's port."""
    port = next((port for port in service.ports if port.name == name and port.protocol.lower() == protocol), None)
    if port is None:
        return [], False
    if kind != "SRV":
        return [], True
    if not service.headless:
        return [SRV(0, 100, port.port, service.host)], True
    targets = [(f"{endpoint.pod.name}.{service.host}", target_port(port, endpoint)) for endpoint in ready]
    return [SRV(0, 100, number, host) for host, number in targets if number], True


def _reverse(name: str, kind: str, world: World) -> Found:
    ip = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
    hosts = [
        service.host
        for service in world.mesh.all(Service)
        if world.cluster_ips.get((service.namespace, service.name)) == ip
    ]
    for endpoint in world.endpoints:
        if endpoint.ip == ip and endpoint.ready:
            hosts += [f"{endpoint.pod.name}.{service.host}" for service in world.services_of(endpoint)]
    return ([PTR(host) for host in hosts] if kind == "PTR" else []), bool(hosts)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, world: Callable[[], World]) -> None:
        self._world = world
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        with contextlib.suppress(Exception):  # what is not DNS gets no answer
            packed = answer(data, self._world(), udp=True)
            if self._transport is not None:
                self._transport.sendto(packed, addr)


async def serve(netns: str, address: str, world: Callable[[], World], port: int = 53) -> None:
    """Serve on `address` in the namespace at path `netns`, for as long as the loop runs."""
    udp = socket_in(netns, socket.SOCK_DGRAM)
    udp.bind((address, port))
    udp.setblocking(False)
    tcp = socket_in(netns)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((address, port))

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(Exception):  # gone, idle, or not DNS
            while True:
                length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), _IDLE_S), "big")
                packed = answer(await asyncio.wait_for(reader.readexactly(length), _IDLE_S), world())
                writer.write(len(packed).to_bytes(2, "big") + packed)
                await writer.drain()
        writer.close()

    await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Udp(world), sock=udp)
    await asyncio.start_server(stream, sock=tcp)
