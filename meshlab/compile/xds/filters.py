"""Network filters: the HTTP connection manager, TCP proxy, RBAC, and the access log that every flow leaves."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.accesslog.v3 import accesslog_pb2 as accesslog
from envoy.config.core.v3 import grpc_service_pb2 as grpc_service
from envoy.config.listener.v3 import listener_components_pb2 as lc
from envoy.config.rbac.v3 import rbac_pb2 as rbac
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2 as als
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2 as state_value
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2 as network_state
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as tcp
from envoy.type.tracing.v3 import custom_tag_pb2 as tag
from google.protobuf.any_pb2 import Any as AnyMessage

from meshlab.compile.xds import hbone, tls
from meshlab.compile.xds.pack import any_of, seconds, u32
from meshlab.compile.xds.plan import OWN, Seat
from meshlab.compile.xds.rbac import compile_rules
from meshlab.model.policies import Action
from meshlab.model.world import Endpoint, World

ADS_CLUSTER = "ads"
_IDLE_S = 3600
_EARLY_BYTES = 1 << 16
"""What may lie in the proxy until the application is dialled. Of HTTP the client speaks first: with its first bytes the
guards have decided, and the row of the dial says how."""
_ATTEMPTS = 3
"""To connect, each to a backend that is chosen anew; as often as a request without a route of its own is tried."""
ROUTER = hcm.HttpFilter(name="envoy.filters.http.router", typed_config=any_of(router_pb2.Router()))
_LOG_BUFFER_BYTES = 1 << 20
"""About 2,000 rows: what a proxy keeps while the control plane restarts. What does not fit, Envoy counts as dropped."""
GUARDS = tuple(
    hcm.HttpFilter(name=f"envoy.filters.http.rbac.{action}", typed_config=any_of(http_rbac.RBAC()))
    for action in ("deny", "allow")
)
"""DENY, then ALLOW. Their rules come with the routes, so that a change holds from the next request on and no
connection has to end for it."""
_TAGS = {
    "upstream_san": "%UPSTREAM_PEER_URI_SAN%",
    "upstream_tls": "%UPSTREAM_TLS_VERSION%",
    "peer_san": "%DOWNSTREAM_PEER_URI_SAN%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "closed": "%CONNECTION_TERMINATION_DETAILS%",
}


def access_log(
    direction: str, kind: str, seat: Seat = OWN, *, tunnel: str = "", carried: bool = False
) -> accesslog.AccessLog:
    """Every request (`kind` http) or connection (tcp) to the control plane, batched. A shared Envoy says for which
    pod it speaks; of what goes through a tunnel is told where to, and of what the kernel reads that it does."""
    optional = {"pod": seat.pod, "tunnel": tunnel, "carried": "yes" if carried else ""}
    tags = {**_TAGS, "direction": direction, **{name: value for name, value in optional.items() if value}}
    common = als.CommonGrpcAccessLogConfig(
        log_name=f"{direction}-{kind}",
        transport_api_version=tls.ads().resource_api_version,
        grpc_service=grpc_service.GrpcService(envoy_grpc=grpc_service.GrpcService.EnvoyGrpc(cluster_name=ADS_CLUSTER)),
        buffer_flush_interval=seconds(0.5),
        buffer_size_bytes=u32(_LOG_BUFFER_BYTES),
        custom_tags=[tag.CustomTag(tag=name, value=value) for name, value in tags.items()],
    )
    if kind == "http":
        config = als.HttpGrpcAccessLogConfig(
            common_config=common, additional_request_headers_to_log=["traceparent", "content-type"],
            additional_response_headers_to_log=["grpc-status"], additional_response_trailers_to_log=["grpc-status"],
        )  # fmt: skip
        return accesslog.AccessLog(name="envoy.access_loggers.http_grpc", typed_config=any_of(config))
    return accesslog.AccessLog(
        name="envoy.access_loggers.tcp_grpc", typed_config=any_of(als.TcpGrpcAccessLogConfig(common_config=common))
    )


def refusals(seat: Seat = OWN) -> accesslog.AccessLog:
    """A row for each connection that no filter chain of the inbound listener took: plaintext into a STRICT port."""
    made = access_log("inbound", "tcp", seat)
    made.filter.response_flag_filter.flags.append("NR")
    return made


def manager(
    direction: str,
    *,
    rds: str = "",
    routes: route_pb2.RouteConfiguration | None = None,
    guards: Sequence[hcm.HttpFilter] = (),
    http2: bool = False,
    seat: Seat = OWN,
) -> lc.Filter:
    """The HTTP connection manager; paths are normalised once, before anything matches on them. `http2`: the client
    has said so by our own ALPN (Envoy by itself knows `h2` only, and takes any other for HTTP/1)."""
    made = hcm.HttpConnectionManager(
        stat_prefix=direction,
        codec_type=hcm.HttpConnectionManager.HTTP2 if http2 else hcm.HttpConnectionManager.AUTO,
        access_log=[access_log(direction, "http", seat)],
        http_filters=[*guards, ROUTER],
        upgrade_configs=[hcm.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        merge_slashes=True,
        path_with_escaped_slashes_action=hcm.HttpConnectionManager.UNESCAPE_AND_FORWARD,
        server_header_transformation=hcm.HttpConnectionManager.PASS_THROUGH,
        forward_client_cert_details=hcm.HttpConnectionManager.SANITIZE,
        stream_idle_timeout=seconds(300),
    )
    made.normalize_path.value = True
    made.skip_xff_append = True
    if routes is not None:
        made.route_config.CopyFrom(routes)
    return _managing(made, seat.name(rds) if rds else "")


def _managing(made: hcm.HttpConnectionManager, rds: str) -> lc.Filter:
    made.generate_request_id.value = False
    made.common_http_protocol_options.idle_timeout.CopyFrom(seconds(_IDLE_S))
    if rds:
        made.rds.route_config_name = rds
        made.rds.config_source.CopyFrom(tls.ads())
    return lc.Filter(name="envoy.filters.network.http_connection_manager", typed_config=any_of(made))


def terminator(rds: str, seat: Seat, *, carried: bool = False) -> lc.Filter:
    """The end of tunnels: each CONNECT becomes a connection, and leaves the row of one. `carried`: as of `tcp_proxy`,
    to some of the pod's ports."""
    made = hcm.HttpConnectionManager(
        stat_prefix="hbone",
        codec_type=hcm.HttpConnectionManager.HTTP2,
        access_log=[access_log("inbound", "http", seat, tunnel="%REQ(:AUTHORITY)%")],
        http_filters=[*GUARDS, ROUTER],
        http2_protocol_options=hbone.OPTIONS,
        upgrade_configs=[hcm.HttpConnectionManager.UpgradeConfig(upgrade_type="CONNECT")],
        stream_idle_timeout=seconds(_IDLE_S),
    )
    if carried:
        made.access_log_options.flush_log_on_tunnel_successfully_established = True
    return _managing(made, seat.name(rds))


def tcp_proxy(direction: str, cluster: str, seat: Seat = OWN, *, tunnel: str = "", carried: bool = False) -> lc.Filter:
    """`tunnel`: the authority of the HTTP/2 CONNECT that carries the bytes to the cluster, as a format string.
    `carried`: what the kernel reads; it is told who the other end is as soon as that is known."""
    log = access_log(direction, "tcp", seat, tunnel=tunnel, carried=carried)
    kind = "carried" if carried else "tcp"
    made = tcp.TcpProxy(stat_prefix=f"{direction}_{kind}", cluster=seat.name(cluster), access_log=[log])
    if carried:
        made.access_log_options.flush_access_log_on_connected = True
        if direction == "outbound":
            made.max_connect_attempts.value = _ATTEMPTS
        else:
            made.upstream_connect_mode = tcp.ON_DOWNSTREAM_DATA
            made.max_early_data_bytes.value = _EARLY_BYTES
    if tunnel:
        made.tunneling_config.hostname = tunnel
    made.idle_timeout.CopyFrom(seconds(_IDLE_S))
    return lc.Filter(name="envoy.filters.network.tcp_proxy", typed_config=any_of(made))


def speaking(variant: str) -> lc.Filter:
    """Whatever the cluster speaks by itself, these connections to it speak a variant."""
    value = state_value.FilterStateValue(object_key="envoy.network.application_protocols", read_only=True)
    value.format_string.text_format_source.inline_string = tls.ALPN[variant]
    return lc.Filter(
        name="envoy.filters.network.set_filter_state",
        typed_config=any_of(network_state.Config(on_new_connection=[value])),
    )


def http_rules(world: World, endpoint: Endpoint, *, tunnel: bool = False) -> dict[str, AnyMessage]:
    """The rules of the guards, by filter name, for a virtual host: of requests, or of connections in a tunnel."""
    found = {}
    for action in (Action.DENY, Action.ALLOW):
        rules = compile_rules(world, endpoint, action, http=not tunnel, tunnel=tunnel)
        if rules is not None:
            config = http_rbac.RBACPerRoute(rbac=http_rbac.RBAC(rules=rules, shadow_rules=_named(rules, action)))
            found[f"envoy.filters.http.rbac.{action.lower()}"] = any_of(config)
    return found


def _named(rules: rbac.RBAC, action: Action) -> rbac.RBAC | None:
    """The same rules as shadow rules: of these alone Envoy tells which one has allowed."""
    return rules if action is Action.ALLOW else None


def tcp_guards(world: World, endpoint: Endpoint) -> list[lc.Filter]:
    """DENY, then ALLOW, for a connection."""
    found = []
    for action in (Action.DENY, Action.ALLOW):
        rules = compile_rules(world, endpoint, action, http=False)
        if rules is not None:
            prefix = f"{action.lower()}_"
            config = network_rbac.RBAC(rules=rules, shadow_rules=_named(rules, action), stat_prefix=prefix)
            found.append(lc.Filter(name=f"envoy.filters.network.rbac.{action.lower()}", typed_config=any_of(config)))
    return found
