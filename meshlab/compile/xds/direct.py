"""Calls to a pod's own address (headless Services, clients that know the pods): mesh TLS all the same.

Envoy looks at the destination port first and never goes back, so every port that any pod declares gets a chain for
all meshed pods, and port 0 stands for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from meshlab.compile.xds import clusters, http, names, peers, routes
from meshlab.compile.xds.endpoints import speaks_mesh
from meshlab.compile.xds.resources import prefix
from meshlab.model.services import Protocol
from meshlab.model.snapshot import Resource
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, World


@dataclass(frozen=True)
class Group:
    """Pods of one service account whose port speaks one protocol. `port` 0: any port that has no chain of its own."""

    port: int
    protocol: Protocol
    identity: str
    spiffe_id: str
    ips: tuple[str, ...]

    def forms(self) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
        """(cluster, ALPN, chain, what the inspector must have seen) for each form of call."""
        both = self.protocol == Protocol.AUTO
        if both or self.protocol == Protocol.HTTP:
            yield self._form("h1", names.ALPN_H1, http.H1_INSPECTED if both else ())
        if both or self.protocol in (Protocol.HTTP2, Protocol.GRPC):
            yield self._form("h2", names.ALPN_H2, http.H2_INSPECTED if both else ())
        if both or self.protocol not in names.HTTP_PROTOCOLS:
            yield self._form("", names.ALPN_RAW, ())

    def _form(self, variant: str, alpn: str, seen: tuple[str, ...]) -> tuple[str, str, str, tuple[str, ...]]:
        chain = f"pod-{self.port}-{self.protocol}-{variant or 'tcp'}-{self.identity}"
        return names.pod_cluster(self.port, variant, self.identity), alpn, chain, seen


def groups(world: World) -> list[Group]:
    meshed = [one for one in world.endpoints if one.mode == Mode.SIDECAR and one.ip]
    declared = {one.pod: names.pod_ports(world, one) for one in meshed}
    ports = {0} | {port for one in meshed for port in (*declared[one.pod], *peers.listed_ports(world, one))}
    found: dict[tuple[int, str, Protocol], list[Endpoint]] = {}
    for port in sorted(ports):
        for one in meshed:
            if speaks_mesh(world, one, port):
                identity = f"{one.pod.namespace}.{one.service_account}"
                protocol = declared[one.pod].get(port, Protocol.AUTO)
                found.setdefault((port, identity, protocol), []).append(one)
    return [
        Group(port, protocol, identity, str(world.identity(pods[0])), tuple(sorted({one.ip for one in pods})))
        for (port, identity, protocol), pods in found.items()
    ]


def chains(world: World) -> list[Any]:
    made = []
    for group in groups(world):
        for cluster, alpn, name, seen in group.forms():
            match: dict[str, Any] = {"prefix_ranges": [prefix(ip) for ip in group.ips]}
            if group.port:
                match["destination_port"] = {"value": group.port}
            if seen:
                match["application_protocols"] = seen
            prefix_name = f"pod_{group.port}_{group.identity}"
            if alpn == names.ALPN_RAW:
                last = http.tcp_proxy("outbound", prefix_name, cluster)
            else:
                last = http.manager("outbound", prefix_name, cluster)
            made.append(http.chain(name, [last], match=match))
    return made


def pod_clusters(world: World) -> list[Resource]:
    found = {
        cluster: clusters.pod_cluster(cluster, alpn, group.spiffe_id)
        for group in groups(world)
        for cluster, alpn, _, _ in group.forms()
    }
    return list(found.values())


def pod_routes(world: World) -> list[Resource]:
    """Each HTTP form has a route configuration with its cluster's name."""
    found = {
        cluster: routes.one_cluster(cluster, cluster)
        for group in groups(world)
        for cluster, alpn, _, _ in group.forms()
        if alpn != names.ALPN_RAW
    }
    return list(found.values())
