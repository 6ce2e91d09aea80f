"""What one sidecar needs to know of a World, as plain nouns: the join that all of the type files share."""

from __future__ import annotations

from dataclasses import dataclass

from meshlab.model.ids import ROOT_NAMESPACE
from meshlab.model.policies import MtlsMode, PeerAuthentication
from meshlab.model.services import Protocol, Service, ServicePort, port_protocol
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, World, target_port

HTTP = (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)


@dataclass(frozen=True)
class Seat:
    """From where a proxy serves a pod: from inside it (a sidecar, the default), or from the node's shared Envoy, whose
    sockets for this pod lie in the pod's network namespace and whose resources are told apart by the pod's name."""

    pod: str = ""
    netns: str = ""
    """Path of the pod's network namespace."""

    def name(self, text: str) -> str:
        """The name of a resource that is this pod's own."""
        return f"{self.pod}@{text}" if self.pod else text

    @property
    def svid(self) -> str:
        """The name of the secret with the pod's SVID."""
        return f"svid@{self.pod}" if self.pod else "default"


OWN = Seat()


@dataclass(frozen=True)
class Target:
    """One TCP port of one Service. `variants` are its clusters by what is spoken: h1, h2, tcp."""

    service: Service
    port: ServicePort
    protocol: Protocol
    variants: tuple[str, ...]

    def cluster(self, variant: str) -> str:
        """`outbound|80||host`, or with the variant where the protocol is detected on the wire."""
        middle = variant if self.protocol is Protocol.AUTO else ""
        return f"outbound|{self.port.port}|{middle}|{self.service.host}"

    @property
    def endpoints(self) -> str:
        return f"{self.port.port}|{self.service.host}"


def targets(world: World) -> list[Target]:
    """Every TCP port of every Service."""
    found = []
    for service in world.mesh.all(Service):
        for port in service.ports:
            protocol = port_protocol(port)
            if protocol is not Protocol.UDP:
                found.append(Target(service, port, protocol, variants(protocol)))
    return found


def variants(protocol: Protocol) -> tuple[str, ...]:
    if protocol is Protocol.AUTO:
        return ("h1", "h2", "tcp")
    if protocol is Protocol.HTTP:
        return ("h1",)
    return ("h2",) if protocol in (Protocol.HTTP2, Protocol.GRPC) else ("tcp",)


def container_protocols(world: World, endpoint: Endpoint) -> dict[int, Protocol]:
    """The pod's own ports that Services declare, and what they speak there (the first Service by name decides); and
    those for which a PeerAuthentication has a mode of their own."""
    found: dict[int, Protocol] = {}
    for service in world.services_of(endpoint):
        for port in service.ports:
            number, protocol = target_port(port, endpoint), port_protocol(port)
            if number is not None and protocol is not Protocol.UDP:
                found.setdefault(number, protocol)
    for policy in world.mesh.all(PeerAuthentication):
        if _selects(policy, endpoint):
            found.update({port: Protocol.AUTO for port in policy.port_modes if port not in found})
    return found


def _selects(policy: PeerAuthentication, endpoint: Endpoint) -> bool:
    """By its selector, as one of the pod's own workload level."""
    return (
        policy.namespace == endpoint.pod.namespace
        and bool(policy.selector)
        and policy.selector.items() <= endpoint.labels.items()
    )


def mtls_mode(world: World, endpoint: Endpoint, port: int) -> MtlsMode:
    """Istio's order: port, workload, namespace, mesh; unset everywhere is PERMISSIVE. Of several at one level the
    first by name counts."""
    if endpoint.mode is Mode.NONE:
        return MtlsMode.DISABLE
    levels: list[list[PeerAuthentication]] = [[], [], []]
    for policy in world.mesh.all(PeerAuthentication):
        if _selects(policy, endpoint):
            levels[0].append(policy)
        elif policy.selector:
            continue
        elif policy.namespace == endpoint.pod.namespace and policy.namespace != ROOT_NAMESPACE:
            levels[1].append(policy)
        elif policy.namespace == ROOT_NAMESPACE:
            levels[2].append(policy)
    for policy in levels[0][:1]:
        mode = policy.port_modes.get(port, MtlsMode.UNSET)
        if mode is not MtlsMode.UNSET:
            return mode
    for level in levels:
        if level and level[0].mode is not MtlsMode.UNSET:
            return level[0].mode
    return MtlsMode.PERMISSIVE


def takes_mtls(world: World, endpoint: Endpoint, port: int) -> bool:
    """Do calls to this port of this pod go by mesh TLS?"""
    return endpoint.mode is not Mode.NONE and mtls_mode(world, endpoint, port) is not MtlsMode.DISABLE
