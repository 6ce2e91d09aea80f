"""How workloads are reached: Services and their ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from meshlab.model.ids import service_host
from meshlab.model.workloads import Labels

HEADLESS = "None"
TUNNEL_LABEL, HBONE = "meshlab.io/tunnel", "hbone"
"""On a Service: raw connections to its pods share tunnels, one per pair of pods."""


class Protocol(StrEnum):
    """What a port speaks. AUTO: not declared, detected on the wire."""

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"
    TLS = "tls"
    UDP = "udp"
    AUTO = "auto"


@dataclass(frozen=True)
class ServicePort:
    port: int
    name: str = ""
    target_port: int | str = 0
    """Number, or the name of a container port; 0: the same as `port`."""
    app_protocol: str = ""
    protocol: str = "TCP"


@dataclass(frozen=True)
class Service:
    """`cluster_ip`: "" (the runtime allocates), "None" (headless) or an address."""

    namespace: str
    name: str
    ports: tuple[ServicePort, ...]
    selector: Labels = field(default_factory=dict)
    labels: Labels = field(default_factory=dict)
    cluster_ip: str = ""

    @property
    def host(self) -> str:
        return service_host(self.name, self.namespace)

    @property
    def tunnelled(self) -> bool:
        """Are raw connections to it to go through HBONE?"""
        return self.labels.get(TUNNEL_LABEL) == HBONE

    @property
    def headless(self) -> bool:
        return self.cluster_ip == HEADLESS


_APP_PROTOCOLS = {
    "http": Protocol.HTTP,
    "http1": Protocol.HTTP,
    "ws": Protocol.HTTP,
    "kubernetes.io/ws": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "h2c": Protocol.HTTP2,
    "kubernetes.io/h2c": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "tcp": Protocol.TCP,
    "mysql": Protocol.TCP,
    "mongo": Protocol.TCP,
    "redis": Protocol.TCP,
    "https": Protocol.TLS,
    "tls": Protocol.TLS,
    "udp": Protocol.UDP,
}


def port_protocol(port: ServicePort) -> Protocol:
    """The protocol of a port: `appProtocol`, then the port name's prefix (`http-web`), as in Istio; else AUTO."""
    if port.protocol == "UDP":
        return Protocol.UDP
    declared = port.app_protocol.lower()
    if declared:
        return _APP_PROTOCOLS.get(declared, Protocol.TCP)
    return _APP_PROTOCOLS.get(port.name.lower().split("-", 1)[0], Protocol.AUTO)
