"""CDS: one cluster a Service port (and variant), with mesh TLS per endpoint, balancing and ejection."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from meshlab.compile.xds import names, tls
from meshlab.compile.xds.endpoints import MESH_MATCH
from meshlab.compile.xds.resources import UNLIMITED, ads, duration, packed, resource
from meshlab.model.services import Protocol, Service, ServicePort, port_protocol
from meshlab.model.snapshot import Resource
from meshlab.model.world import World

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECT_MS = 3000.0
_BASE_EJECTION_MS = 10_000.0
_EJECTION_SWEEP_MS = 1000.0


def service_clusters(world: World) -> list[Resource]:
    found = []
    for service in world.mesh.all(Service):
        if service.headless:
            continue
        identities = [str(world.identity(endpoint)) for endpoint in world.selected(service)]
        for port in names.tcp_ports(service):
            for variant, alpn in variants(port_protocol(port)):
                found.append(_service_cluster(service, port, variant, alpn, identities))
    return found


def variants(protocol: Protocol) -> tuple[tuple[str, str], ...]:
    """(variant of the cluster, ALPN) for each form in which a port is called."""
    if protocol == Protocol.AUTO:
        return (("", names.ALPN_H1), ("h2", names.ALPN_H2), ("tcp", names.ALPN_RAW))
    if protocol == Protocol.HTTP:
        return (("", names.ALPN_H1),)
    return (("", names.ALPN_H2 if protocol in names.HTTP_PROTOCOLS else names.ALPN_RAW),)


def _service_cluster(service: Service, port: ServicePort, variant: str, alpn: str, identities: list[str]) -> Resource:
    name = names.outbound_cluster(service, port.port, variant)
    cluster = cluster_pb2.Cluster(
        name=name,
        type="EDS",
        eds_cluster_config={"eds_config": ads(), "service_name": names.endpoints_name(service, port.port)},
        lb_policy="LEAST_REQUEST",
        outlier_detection=_ejection(),
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        transport_socket_matches=[
            {"name": "mesh", "match": MESH_MATCH, "transport_socket": tls.upstream(alpn, identities)},
            {"name": "plain", "match": {}, "transport_socket": tls.plaintext()},
        ],
    )
    return resource(name, _finished(cluster, alpn))


def pod_cluster(name: str, alpn: str, identity: str) -> Resource:
    """Calls to pods by their own address: the address dialled is the one that the application asked for."""
    cluster = cluster_pb2.Cluster(
        name=name, type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", transport_socket=tls.upstream(alpn, [identity])
    )
    return resource(name, _finished(cluster, alpn))


def inbound_cluster(port: int) -> Resource:
    """To the application, in the HTTP version that the caller speaks, at the pod's own address over loopback."""
    name = names.inbound_cluster(port)
    cluster = cluster_pb2.Cluster(
        name=name,
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        upstream_bind_config={"source_address": {"address": names.INBOUND_SOURCE, "port_value": 0}},
    )
    same = http_protocol_options_pb2.HttpProtocolOptions(
        use_downstream_protocol_config={"http_protocol_options": {}, "http2_protocol_options": {}}
    )
    cluster.typed_extension_protocol_options[_OPTIONS].CopyFrom(packed(same))
    return resource(name, _finished(cluster, names.ALPN_RAW))


def fixed_clusters() -> list[Resource]:
    passthrough = cluster_pb2.Cluster(name=names.PASSTHROUGH, type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED")
    blackhole = cluster_pb2.Cluster(name=names.BLACKHOLE, type="STATIC")
    return [resource(one.name, _finished(one, names.ALPN_RAW)) for one in (passthrough, blackhole)]


def _finished(cluster: Any, alpn: str) -> Any:
    """What all clusters have: the HTTP version of their ALPN, no limits of Envoy's own."""
    cluster.connect_timeout.FromMilliseconds(int(_CONNECT_MS))
    if alpn != names.ALPN_RAW:
        version = "http2_protocol_options" if alpn == names.ALPN_H2 else "http_protocol_options"
        options = http_protocol_options_pb2.HttpProtocolOptions(explicit_http_config={version: {}})
        cluster.typed_extension_protocol_options[_OPTIONS].CopyFrom(packed(options))
    most = {"value": UNLIMITED}
    cluster.circuit_breakers.thresholds.add(
        max_connections=most, max_pending_requests=most, max_requests=most, max_retries=most
    )
    return cluster


def _ejection() -> dict[str, Any]:
    """Five 5xx in a row take a backend out for 10 s. At most half of them, so one of two goes and a lone one stays."""
    return {
        "consecutive_5xx": {"value": 5},
        "interval": duration(_EJECTION_SWEEP_MS),
        "base_ejection_time": duration(_BASE_EJECTION_MS),
        "max_ejection_percent": {"value": 50},
        "enforcing_success_rate": {"value": 0},
    }
