"""Names that Envoy's configuration, its statistics and the flow columns share, and what follows from Services."""

from __future__ import annotations

from meshlab.model.services import Protocol, Service, ServicePort, port_protocol
from meshlab.model.world import Endpoint, World, target_port

PASSTHROUGH = "passthrough"
BLACKHOLE = "blackhole"
UNRESOLVED = "unresolved"
"""A cluster that never exists: requests routed to it are answered with 500, as the Gateway API asks."""
ADS_CLUSTER = "ads"
ADMIN_CLUSTER = "admin"
STATIC_CLUSTERS = (ADS_CLUSTER, ADMIN_CLUSTER)

OUTBOUND_PORT, INBOUND_PORT, ADMIN_PORT, HEALTH_PORT, STATS_PORT = 15001, 15006, 15000, 15021, 15090
HEALTH_PATH = "/healthz/ready"
INBOUND_SOURCE = "127.0.0.6"
"""Where the proxy's connections to its own application come from; it tells them from the application's calls to
itself through a Service (Istio's address for it)."""

ALPN_RAW, ALPN_H1, ALPN_H2 = "meshlab", "meshlab-h1", "meshlab-h2"
HTTP_PROTOCOLS = (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)


def outbound_cluster(service: Service, port: int, variant: str = "") -> str:
    """`variant`: "", or "h2" or "tcp" for a port that declares no protocol."""
    return f"outbound|{port}|{variant}|{service.host}"


def endpoints_name(service: Service, port: int) -> str:
    return f"{port}|{service.host}"


def route_name(service: Service, port: int, variant: str = "") -> str:
    return f"{port}|{variant}|{service.host}" if variant else f"{port}|{service.host}"


def pod_cluster(port: int, variant: str, identity: str) -> str:
    """Calls to a pod's own address; `identity` is `<namespace>.<service account>`."""
    return f"outbound|{port}|pod{'-' + variant if variant else ''}|{identity}"


def inbound_cluster(port: int) -> str:
    return f"inbound|{port}||"


def tcp_ports(service: Service) -> tuple[ServicePort, ...]:
    """The ports that the mesh carries; UDP goes around it."""
    return tuple(port for port in service.ports if port_protocol(port) != Protocol.UDP)


def pod_ports(world: World, endpoint: Endpoint) -> dict[int, Protocol]:
    """Port on the pod -> protocol, as its Services declare it; a declared protocol goes before an undeclared one."""
    found: dict[int, Protocol] = {}
    for service in world.services_of(endpoint):
        for port in tcp_ports(service):
            number = target_port(port, endpoint)
            if number is not None and found.get(number, Protocol.AUTO) == Protocol.AUTO:
                found[number] = port_protocol(port)
    return dict(sorted(found.items()))
