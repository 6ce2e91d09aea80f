"""CDS: one cluster per Service port (and protocol variant), per directly called identity, and for the pod itself."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.cluster.v3 import circuit_breaker_pb2 as breaker
from envoy.config.cluster.v3 import cluster_pb2 as cluster
from envoy.config.cluster.v3 import outlier_detection_pb2 as outlier
from envoy.config.core.v3 import base_pb2 as core
from envoy.config.core.v3 import protocol_pb2 as protocol
from envoy.config.core.v3 import socket_option_pb2 as option
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as http
from google.protobuf.struct_pb2 import Struct

from meshlab.compile.plan import Target, container_protocols, is_read
from meshlab.compile.xds import hbone, tls
from meshlab.compile.xds.endpoints import socket
from meshlab.compile.xds.pack import any_of, seconds, u32
from meshlab.compile.xds.plan import OWN, Seat
from meshlab.model.services import Protocol
from meshlab.model.wire import READ_PRIORITY
from meshlab.model.world import Endpoint, World

PASSTHROUGH = "passthrough"
APPLICATION, READ = "inbound", "inbound|read"
"""To the pod's own application, at whichever port was called; and what the kernel reads of it, where it is carried."""
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANY = 1 << 20
_SOL_SOCKET, _SO_PRIORITY = 1, 12


def for_target(world: World, target: Target, variant: str, seat: Seat = OWN) -> cluster.Cluster:
    """Least request (P2C), outlier detection, mesh TLS where the endpoint takes it."""
    ids = sorted({str(world.identity(pod)) for pod in world.selected(target.service)})
    tunnel = target.tunnelled(variant)
    made = _base(target.cluster(variant), "hbone" if tunnel else variant, seat)
    made.type = cluster.Cluster.EDS
    places = hbone.endpoints_of(target) if tunnel else target.endpoints
    made.eds_cluster_config.CopyFrom(
        cluster.Cluster.EdsClusterConfig(eds_config=tls.ads(), service_name=seat.name(places))
    )
    made.lb_policy = cluster.Cluster.LEAST_REQUEST
    made.outlier_detection.CopyFrom(_outlier())
    made.ignore_health_on_host_removal = True
    if tunnel:
        made.transport_socket.CopyFrom(tls.upstream(tls.ALPN_HBONE, ids, seat.svid))
    else:
        _secure(made, variant, ids, seat)
    return made


def for_identity(name: str, spiffe_id: str, seat: Seat = OWN) -> cluster.Cluster:
    """Pods called by their own address: mesh TLS to exactly that identity, at any port. Whether it is HTTP the
    connection says (`filters.speaking`)."""
    made = original_dst(name, seat)
    made.transport_socket.CopyFrom(tls.upstream(tls.ALPN_TCP, [spiffe_id], seat.svid))
    return made


def original_dst(name: str, seat: Seat = OWN) -> cluster.Cluster:
    """Wherever the connection was going (outbound: beyond the mesh; inbound: the pod's own application), as plaintext,
    speaking what the client speaks."""
    made = _base(name, "same", seat)
    made.type = cluster.Cluster.ORIGINAL_DST
    made.lb_policy = cluster.Cluster.CLUSTER_PROVIDED
    return made


def inbound(seat: Seat = OWN) -> list[cluster.Cluster]:
    """To the pod's own application."""
    made = [original_dst(APPLICATION, seat)]
    return [*made, _read(original_dst(READ, seat))] if seat.pod else made


def _read(made: cluster.Cluster) -> cluster.Cluster:
    """The kernel knows by a mark of their own the connections that it is to read."""
    made.upstream_bind_config.socket_options.add(
        level=_SOL_SOCKET, name=_SO_PRIORITY, int_value=READ_PRIORITY, state=option.SocketOption.STATE_PREBIND
    )
    return made


def tunnel_end(port: int, spoken: Protocol, seat: Seat = OWN) -> str:
    """The cluster to one of the pod's ports for what comes out of tunnels."""
    return f"inbound|hbone|{port}|read" if seat.pod and is_read(spoken) else hbone.inbound(port)


def for_tunnels(world: World, endpoint: Endpoint, seat: Seat = OWN) -> list[cluster.Cluster]:
    """To the pod's own application, from tunnels: to a port that a Service declares, and to the address that the
    tunnel's client has named."""
    named = original_dst(hbone.INBOUND, seat)
    named.original_dst_lb_config.use_http_header = True
    named.original_dst_lb_config.http_header_name = ":authority"
    found = [named]
    for port, spoken in container_protocols(world, endpoint).items():
        made = _base(tunnel_end(port, spoken, seat), "tcp", seat)
        made.type = cluster.Cluster.STATIC
        made.load_assignment.cluster_name = made.name
        made.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.CopyFrom(socket(endpoint.ip, port))
        found.append(_read(made) if seat.pod and is_read(spoken) else made)
    return found


def _base(name: str, variant: str, seat: Seat) -> cluster.Cluster:
    made = cluster.Cluster(name=seat.name(name), connect_timeout=seconds(2.0))
    if seat.netns:
        made.upstream_bind_config.source_address.CopyFrom(socket("0.0.0.0", 0, seat.netns).socket_address)
    made.circuit_breakers.CopyFrom(
        breaker.CircuitBreakers(
            thresholds=[
                breaker.CircuitBreakers.Thresholds(
                    max_connections=u32(_MANY),
                    max_pending_requests=u32(_MANY),
                    max_requests=u32(_MANY),
                    max_retries=u32(1024),
                )
            ]
        )
    )
    options = http.HttpProtocolOptions()
    if variant == "h1":
        options.explicit_http_config.http_protocol_options.CopyFrom(protocol.Http1ProtocolOptions())
    elif variant == "h2":
        options.explicit_http_config.http2_protocol_options.CopyFrom(protocol.Http2ProtocolOptions())
    elif variant == "hbone":
        options.explicit_http_config.http2_protocol_options.CopyFrom(hbone.OPTIONS)
    else:
        options.use_downstream_protocol_config.http_protocol_options.CopyFrom(protocol.Http1ProtocolOptions())
        options.use_downstream_protocol_config.http2_protocol_options.CopyFrom(protocol.Http2ProtocolOptions())
    if variant != "tcp":
        made.typed_extension_protocol_options[_OPTIONS].CopyFrom(any_of(options))
    return made


def _outlier() -> outlier.OutlierDetection:
    """Five errors of the 5xx kind in a row take a backend out for ten seconds, and longer each time; of two, one."""
    return outlier.OutlierDetection(
        consecutive_5xx=u32(5),
        interval=seconds(1.0),
        base_ejection_time=seconds(10.0),
        max_ejection_percent=u32(50),
        enforcing_success_rate=u32(0),
        enforcing_failure_percentage=u32(0),
    )


def _secure(made: cluster.Cluster, variant: str, ids: Sequence[str], seat: Seat) -> None:
    raw = core.TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=any_of(raw_buffer_pb2.RawBuffer())
    )
    if ids:
        match = Struct()
        match["tls"] = "meshlab"
        made.transport_socket_matches.append(
            cluster.Cluster.TransportSocketMatch(
                name="mesh", match=match, transport_socket=tls.upstream(tls.ALPN[variant], ids, seat.svid)
            )
        )
    made.transport_socket_matches.append(
        cluster.Cluster.TransportSocketMatch(name="plain", match=Struct(), transport_socket=raw)
    )
