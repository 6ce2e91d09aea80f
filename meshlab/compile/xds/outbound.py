"""LDS, the application's own calls: one listener for what the proxy is handed, one behind it for each Service port."""

from __future__ import annotations

from typing import Any

from envoy.config.listener.v3 import listener_pb2

from meshlab.compile.xds import direct, http, names
from meshlab.compile.xds.resources import address, duration, resource
from meshlab.model.services import Protocol, Service, ServicePort, port_protocol
from meshlab.model.snapshot import Resource
from meshlab.model.world import World

_DIRECTION = "outbound"


def listeners(world: World) -> list[Resource]:
    found = [_virtual(world)]
    for service in world.mesh.all(Service):
        ip = world.cluster_ips.get((service.namespace, service.name))
        if ip and not service.headless:
            found += [_service_listener(service, ip, port) for port in names.tcp_ports(service)]
    return found


def _virtual(world: World) -> Resource:
    """Pods by their own address with mesh TLS; whatever else the mesh does not know goes on as it came."""
    loop = http.tcp_proxy(_DIRECTION, names.BLACKHOLE, names.BLACKHOLE)
    passthrough = http.tcp_proxy(_DIRECTION, names.PASSTHROUGH, names.PASSTHROUGH)
    listener = listener_pb2.Listener(
        name="virtual_outbound",
        address=address("127.0.0.1", names.OUTBOUND_PORT),
        traffic_direction="OUTBOUND",
        use_original_dst={"value": True},
        listener_filters=[http.original_dst(), http.http_inspector()],
        filter_chains=[
            http.chain(names.BLACKHOLE, [loop], match={"destination_port": {"value": names.OUTBOUND_PORT}}),
            *direct.chains(world),
        ],
        default_filter_chain=http.chain(names.PASSTHROUGH, [passthrough]),
        listener_filters_timeout=duration(http.DETECTION_MS),
        continue_on_listener_filters_timeout=True,
    )
    return resource(listener.name, listener)


def _service_listener(service: Service, ip: str, port: ServicePort) -> Resource:
    protocol = port_protocol(port)
    listener = listener_pb2.Listener(
        name=f"outbound_{ip}_{port.port}",
        address=address(ip, port.port),
        traffic_direction="OUTBOUND",
        bind_to_port={"value": False},
    )
    if protocol in names.HTTP_PROTOCOLS:
        listener.filter_chains.append(http.chain("http", [_http(service, port, "")]))
    elif protocol == Protocol.AUTO:
        _detecting(listener, service, port)
    else:
        listener.filter_chains.append(http.chain("tcp", [_tcp(service, port, "")]))
    return resource(listener.name, listener)


def _detecting(listener: Any, service: Service, port: ServicePort) -> None:
    """The first bytes decide; silence means that the server speaks first."""
    listener.listener_filters.append(http.http_inspector())
    listener.listener_filters_timeout.FromMilliseconds(int(http.DETECTION_MS))
    listener.continue_on_listener_filters_timeout = True
    for name, seen, variant in (("http1", http.H1_INSPECTED, ""), ("http2", http.H2_INSPECTED, "h2")):
        match = {"application_protocols": seen}
        listener.filter_chains.append(http.chain(name, [_http(service, port, variant)], match=match))
    listener.default_filter_chain.CopyFrom(http.chain("tcp", [_tcp(service, port, "tcp")]))


def _http(service: Service, port: ServicePort, variant: str) -> Any:
    name = names.route_name(service, port.port, variant)
    return http.manager(_DIRECTION, f"outbound_{port.port}_{service.name}_{service.namespace}", name)


def _tcp(service: Service, port: ServicePort, variant: str) -> Any:
    prefix = f"outbound_{port.port}_{service.name}_{service.namespace}"
    return http.tcp_proxy(_DIRECTION, prefix, names.outbound_cluster(service, port.port, variant))
