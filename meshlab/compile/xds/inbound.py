"""LDS and RDS, calls to the application: mesh TLS by ALPN, plaintext and the application's own TLS where permitted.

HTTP policies ride on the routes (RDS): a change reaches open connections at once and drains none. Policies on TCP are
part of the listener.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.config.listener.v3 import listener_pb2

from meshlab.compile.xds import access_logs, clusters, http, names, peers, rbac, routes, tls
from meshlab.compile.xds.resources import address, duration, resource
from meshlab.model.policies import MtlsMode
from meshlab.model.services import Protocol
from meshlab.model.snapshot import Resource
from meshlab.model.world import Endpoint, World

_DIRECTION = "inbound"


def ports(world: World, endpoint: Endpoint) -> dict[int, Protocol]:
    """Every port with chains of its own; 0 is any other."""
    listed = dict.fromkeys((0, *peers.listed_ports(world, endpoint)), Protocol.AUTO)
    return dict(sorted({**listed, **names.pod_ports(world, endpoint)}.items()))


def listener(world: World, endpoint: Endpoint) -> Resource:
    gates = rbac.network_filters(world, endpoint)
    loop = http.tcp_proxy(_DIRECTION, names.BLACKHOLE, names.BLACKHOLE)
    made = [http.chain(names.BLACKHOLE, [loop], match={"destination_port": {"value": names.INBOUND_PORT}})]
    for port, protocol in ports(world, endpoint).items():
        strict = peers.port_mtls(world, endpoint, port) == MtlsMode.STRICT
        made += _chains(port, protocol, strict, world.trust_domain, gates)
    virtual = listener_pb2.Listener(
        name="virtual_inbound",
        address=address("0.0.0.0", names.INBOUND_PORT),
        traffic_direction="INBOUND",
        listener_filters=[http.original_dst(), http.tls_inspector(), http.http_inspector()],
        filter_chains=made,
        listener_filters_timeout=duration(http.DETECTION_MS),
        continue_on_listener_filters_timeout=True,
        access_log=[access_logs.tcp(_DIRECTION, refused_only=True)],
    )
    return resource(virtual.name, virtual)


def route_configs(world: World, endpoint: Endpoint) -> list[Resource]:
    policies = rbac.route_settings(world, endpoint)
    return [
        routes.one_cluster(names.inbound_cluster(port), names.inbound_cluster(port), policies, inbound=True)
        for port in ports(world, endpoint)
    ]


def inbound_clusters(world: World, endpoint: Endpoint) -> list[Resource]:
    return [clusters.inbound_cluster(port) for port in ports(world, endpoint)]


def _chains(port: int, protocol: Protocol, strict: bool, trust_domain: str, gates: list[Any]) -> Iterator[Any]:
    """One port's chains. DISABLE still takes mesh TLS, from peers that have not heard of it yet."""
    name = names.inbound_cluster(port)
    web = http.manager(_DIRECTION, f"inbound_{port}", name, rbac.http_filters())
    raw = [*gates, http.tcp_proxy(_DIRECTION, f"inbound_{port}", name, judged=bool(gates))]

    def chain(kind: str, filters: list[Any], transport: str, seen: tuple[str, ...] = (), socket: Any = None) -> Any:
        match: dict[str, Any] = {"transport_protocol": transport, "application_protocols": seen}
        if port:
            match["destination_port"] = {"value": port}
        return http.chain(f"{port}-{kind}", filters, match=match, transport_socket=socket)

    for kind, filters, alpn in (
        ("mesh-http", [web], (names.ALPN_H1, names.ALPN_H2)),
        ("mesh-tcp", raw, (names.ALPN_RAW,)),
    ):
        yield chain(kind, filters, "tls", alpn, tls.downstream(alpn, trust_domain))
    if strict:
        return
    yield chain("own-tls", raw, "tls")
    if protocol == Protocol.AUTO:
        yield chain("plain-http", [web], "raw_buffer", (*http.H1_INSPECTED, *http.H2_INSPECTED))
    yield chain("plain", [web] if protocol in names.HTTP_PROTOCOLS else raw, "raw_buffer")
