"""Does a snapshot hang together? Asked before anyone is served."""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.cluster.v3 import cluster_pb2 as cluster
from envoy.config.listener.v3 import listener_pb2 as listener
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as tcp
from google.protobuf.any_pb2 import Any as AnyMessage

from meshlab.compile.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from meshlab.model.snapshot import Snapshot

_STATIC = {"ads", "admin"}


def check(snapshot: Snapshot) -> tuple[str, ...]:
    """Problems: a reference to a cluster, route or endpoint set that is not there."""
    known = snapshot.resources[CLUSTER].keys() | _STATIC
    found: list[str] = []
    for name, resource in snapshot.resources[CLUSTER].items():
        made = cluster.Cluster()
        AnyMessage.FromString(resource.body).Unpack(made)
        service = made.eds_cluster_config.service_name
        if service and service not in snapshot.resources[ENDPOINTS]:
            found.append(f"cluster {name} wants endpoints {service}, which are not there")
    for name, resource in snapshot.resources[LISTENER].items():
        for kind, wanted in _listener(resource.body):
            there = known if kind == "cluster" else snapshot.resources[ROUTE]
            if wanted not in there:
                found.append(f"listener {name} wants {kind} {wanted}, which is not there")
    for name, resource in snapshot.resources[ROUTE].items():
        routes = route_pb2.RouteConfiguration()
        AnyMessage.FromString(resource.body).Unpack(routes)
        found += [
            f"route {name} wants cluster {one}, which is not there" for one in _routes(routes) if one not in known
        ]
    return tuple(found)


def _listener(body: bytes) -> Iterator[tuple[str, str]]:
    made = listener.Listener()
    AnyMessage.FromString(body).Unpack(made)
    chains = [*made.filter_chains, made.default_filter_chain]
    for one in (inner for chain in chains for inner in chain.filters):
        if one.typed_config.Is(hcm.HttpConnectionManager.DESCRIPTOR):
            manager = hcm.HttpConnectionManager()
            one.typed_config.Unpack(manager)
            if manager.rds.route_config_name:
                yield "route", manager.rds.route_config_name
            yield from (("cluster", name) for name in _routes(manager.route_config))
        elif one.typed_config.Is(tcp.TcpProxy.DESCRIPTOR):
            proxy = tcp.TcpProxy()
            one.typed_config.Unpack(proxy)
            yield "cluster", proxy.cluster


def _routes(routes: route_pb2.RouteConfiguration) -> Iterator[str]:
    for route in (route for host in routes.virtual_hosts for route in host.routes):
        if route.HasField("route"):
            if route.route.cluster:
                yield route.route.cluster
            yield from (one.name for one in route.route.weighted_clusters.clusters)
            yield from (one.cluster for one in route.route.request_mirror_policies)
