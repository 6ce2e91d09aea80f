"""EDS: the ready pods behind each Service port, each marked with whether it takes mesh TLS."""

from __future__ import annotations

from envoy.config.core.v3 import address_pb2 as address
from envoy.config.core.v3 import base_pb2 as core
from envoy.config.endpoint.v3 import endpoint_components_pb2 as components
from envoy.config.endpoint.v3 import endpoint_pb2 as endpoint_proto

from meshlab.compile.plan import Target, takes_mtls
from meshlab.compile.xds import hbone
from meshlab.compile.xds.plan import OWN, Seat
from meshlab.model.wire import HBONE_PORT
from meshlab.model.world import World, target_port


def socket(ip: str, port: int, netns: str = "") -> address.Address:
    found = address.SocketAddress(address=ip, port_value=port, network_namespace_filepath=netns)
    return address.Address(socket_address=found)


def assignment(
    world: World, target: Target, seat: Seat = OWN, *, tunnel: bool = False
) -> endpoint_proto.ClusterLoadAssignment:
    """`tunnel`: the same pods at the port of their tunnels."""
    found = []
    for pod in world.selected(target.service):
        port = target_port(target.port, pod)
        if not pod.ready or port is None:
            continue
        host = components.LbEndpoint(
            endpoint=components.Endpoint(address=socket(pod.ip, HBONE_PORT if tunnel else port))
        )
        host.load_balancing_weight.value = 1
        if not tunnel and takes_mtls(world, pod, port):
            match = core.Metadata()
            match.filter_metadata["envoy.transport_socket_match"]["tls"] = "meshlab"
            host.metadata.CopyFrom(match)
        found.append(host)
    groups = [components.LocalityLbEndpoints(lb_endpoints=found)] if found else []
    name = hbone.endpoints_of(target) if tunnel else target.endpoints
    return endpoint_proto.ClusterLoadAssignment(cluster_name=seat.name(name), endpoints=groups)
