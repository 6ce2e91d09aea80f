"""What a compiled Snapshot refers to is in it. Nobody is served a Snapshot with a problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

from meshlab.compile.xds import names
from meshlab.compile.xds.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshlab.model.snapshot import Snapshot

M = TypeVar("M", bound=Message)


def check(snapshot: Snapshot) -> tuple[str, ...]:
    """Problems, in a fixed order; empty is good."""
    clusters = {*snapshot.resources.get(CLUSTER, ()), *names.STATIC_CLUSTERS}
    routes = set(snapshot.resources.get(ROUTE, ()))
    found = list(_endpoints(snapshot))
    used: set[str] = set()
    for listener in _messages(snapshot, LISTENER, listener_pb2.Listener):
        found += _listener(listener, clusters, routes, used)
    found += [f"route configuration {name} is used by no listener" for name in sorted(routes - used)]
    for config in _messages(snapshot, ROUTE, route_pb2.RouteConfiguration):
        found += _routes(config, clusters)
    return tuple(found)


def _messages(snapshot: Snapshot, url: str, kind: type[M]) -> Iterator[M]:
    for one in snapshot.resources.get(url, {}).values():
        yield _unpacked(any_pb2.Any.FromString(one.body), kind)


def _unpacked(packed: Any, kind: type[M]) -> M:
    message = kind()
    packed.Unpack(message)
    return message


def _endpoints(snapshot: Snapshot) -> Iterator[str]:
    known = set(snapshot.resources.get(ENDPOINT, ()))
    wanted = set()
    for cluster in _messages(snapshot, CLUSTER, cluster_pb2.Cluster):
        if cluster.WhichOneof("cluster_discovery_type") == "type" and cluster.type == cluster_pb2.Cluster.EDS:
            name = cluster.eds_cluster_config.service_name or cluster.name
            wanted.add(name)
            if name not in known:
                yield f"cluster {cluster.name}: no endpoints {name}"
    for name in sorted(known - wanted):
        yield f"endpoints {name} belong to no cluster"


def _listener(listener: Any, clusters: set[str], routes: set[str], used: set[str]) -> Iterator[str]:
    seen: set[bytes] = set()
    chains = [*listener.filter_chains, listener.default_filter_chain]
    for chain in chains:
        if chain is not listener.default_filter_chain:
            match = chain.filter_chain_match.SerializeToString(deterministic=True)
            if match in seen:
                yield f"listener {listener.name}, chain {chain.name}: another chain matches the same"
            seen.add(match)
        for one in chain.filters:
            if one.typed_config.Is(tcp_proxy_pb2.TcpProxy.DESCRIPTOR):
                cluster = _unpacked(one.typed_config, tcp_proxy_pb2.TcpProxy).cluster
                if cluster not in clusters:
                    yield f"listener {listener.name}, chain {chain.name}: no cluster {cluster}"
            elif one.typed_config.Is(hcm.HttpConnectionManager.DESCRIPTOR):
                manager = _unpacked(one.typed_config, hcm.HttpConnectionManager)
                name = manager.rds.route_config_name
                used.add(name)
                if name and name not in routes:
                    yield f"listener {listener.name}, chain {chain.name}: no route configuration {name}"


def _routes(config: Any, clusters: set[str]) -> Iterator[str]:
    for host in config.virtual_hosts:
        for route in host.routes:
            action = route.route
            wanted = [action.cluster] if action.cluster else []
            wanted += [one.name for one in action.weighted_clusters.clusters]
            wanted += [one.cluster for one in action.request_mirror_policies]
            for cluster in wanted:
                if cluster not in clusters and cluster != names.UNRESOLVED:
                    yield f"route {route.name} of {config.name}: no cluster {cluster}"
