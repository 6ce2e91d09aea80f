"""What both compilers need to know of a World, as plain nouns: the join that their files share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from meshlab.model.ids import ROOT_NAMESPACE
from meshlab.model.policies import AuthorizationPolicy, MtlsMode, PeerAuthentication
from meshlab.model.routes import HTTPRoute
from meshlab.model.services import Protocol, Service, ServicePort, port_protocol
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId, World, target_port


@dataclass(frozen=True)
class Target:
    """One TCP port of one Service. `variants` are its clusters by what is spoken: h1, h2, tcp."""

    service: Service
    port: ServicePort
    protocol: Protocol
    variants: tuple[str, ...]
    tunnel: int = 0
    """The container port to which raw connections are tunnelled (HBONE); 0 where they are not."""

    def tunnelled(self, variant: str) -> bool:
        return variant == "tcp" and bool(self.tunnel)

    def cluster(self, variant: str) -> str:
        """`outbound|80||host`, or with the variant where the protocol is detected on the wire. That of tunnels is
        another: while one form takes the other's place both are there, and none is given bytes in the wrong one."""
        middle = variant if self.protocol is Protocol.AUTO else ""
        middle = "hbone" if self.tunnelled(variant) else middle
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
                found.append(Target(service, port, protocol, variants(protocol), _tunnel(world, service, port)))
    return found


def _tunnel(world: World, service: Service, port: ServicePort) -> int:
    """None where the Service does not want it, or its pods do not all take mesh TLS at one and the same port."""
    pods = world.selected(service) if service.tunnelled else ()
    ports = {target_port(port, pod) or 0 for pod in pods}
    if len(ports) != 1 or not all(takes_mtls(world, pod, number) for pod in pods for number in ports):
        return 0
    return ports.pop()


def variants(protocol: Protocol) -> tuple[str, ...]:
    if protocol is Protocol.AUTO:
        return ("h1", "h2", "tcp")
    if protocol is Protocol.HTTP:
        return ("h1",)
    return ("h2",) if protocol in (Protocol.HTTP2, Protocol.GRPC) else ("tcp",)


def is_read(protocol: Protocol) -> bool:
    """Can the kernel read it, where a proxy only carries it?"""
    return protocol is Protocol.HTTP


def is_attached(route: HTTPRoute, target: Target) -> bool:
    return any(
        parent.kind == "Service"
        and (parent.namespace, parent.name) == (target.service.namespace, target.service.name)
        and parent.port in (0, target.port.port)
        and parent.section_name in ("", target.port.name)
        for parent in route.parents
    )


def seated(world: World, node: str) -> list[Endpoint]:
    """The sidecarless pods of a node that have a network namespace: its shared Envoy and its kernel serve them."""
    return [pod for pod in world.endpoints if pod.node == node and pod.mode is Mode.SIDECARLESS and pod.netns]


def container_protocols(world: World, endpoint: Endpoint) -> Mapping[int, Protocol]:
    """The pod's own ports that Services declare, and what they speak there (the first Service by name decides); and
    those for which a PeerAuthentication has a mode of their own."""
    return _every_protocol(world)[endpoint.pod]


@lru_cache(maxsize=2)
def _every_protocol(world: World) -> dict[PodId, Mapping[int, Protocol]]:
    return {endpoint.pod: _protocols(world, endpoint) for endpoint in world.endpoints}


def _protocols(world: World, endpoint: Endpoint) -> dict[int, Protocol]:
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


def policies_for(world: World, endpoint: Endpoint) -> list[AuthorizationPolicy]:
    """The policies that select a workload: its own namespace's and the root namespace's."""
    return [
        policy
        for policy in world.mesh.all(AuthorizationPolicy)
        if policy.namespace in (endpoint.pod.namespace, ROOT_NAMESPACE)
        and policy.selector.items() <= endpoint.labels.items()
    ]


def rule_name(policy: AuthorizationPolicy, index: int) -> str:
    """How a rule is called where rules are compared and told of; Envoy asks them in the order of these names."""
    return f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{index}]"
