"""EDS: the ready pods behind each Service port, each with the transport it wants to be spoken to in."""

from __future__ import annotations

from typing import Any

from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from meshlab.compile.xds import names
from meshlab.compile.xds.peers import port_mtls
from meshlab.compile.xds.resources import address, resource
from meshlab.model.policies import MtlsMode
from meshlab.model.services import Service, ServicePort
from meshlab.model.snapshot import Resource
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, World, target_port

MESH_MATCH = {"mesh": "mtls"}
"""Endpoint metadata that chooses mesh TLS among a cluster's `transport_socket_matches`."""


def speaks_mesh(world: World, endpoint: Endpoint, port: int) -> bool:
    """Is this pod's port to be called with mesh TLS?"""
    return endpoint.mode == Mode.SIDECAR and port_mtls(world, endpoint, port) != MtlsMode.DISABLE


def endpoints(world: World) -> list[Resource]:
    return [
        _assignment(world, service, port)
        for service in world.mesh.all(Service)
        if not service.headless
        for port in names.tcp_ports(service)
    ]


def _assignment(world: World, service: Service, port: ServicePort) -> Resource:
    name = names.endpoints_name(service, port.port)
    members = []
    for endpoint in world.selected(service):
        number = target_port(port, endpoint)
        if endpoint.ready and not endpoint.terminating and endpoint.ip and number is not None:
            members.append(_member(world, endpoint, number))
    groups = [endpoint_components_pb2.LocalityLbEndpoints(lb_endpoints=members)] if members else []
    return resource(name, endpoint_pb2.ClusterLoadAssignment(cluster_name=name, endpoints=groups))


def _member(world: World, endpoint: Endpoint, port: int) -> Any:
    member = endpoint_components_pb2.LbEndpoint(endpoint={"address": address(endpoint.ip, port)})
    if speaks_mesh(world, endpoint, port):
        member.metadata.filter_metadata["envoy.transport_socket_match"].update(MESH_MATCH)
    return member
