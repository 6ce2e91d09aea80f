"""The HTTP connection manager and the TCP proxy: what listeners of both directions are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from meshlab.compile.xds import access_logs
from meshlab.compile.xds.resources import ads, packed

DETECTION_MS = 100.0
"""How long a connection of an undeclared protocol may stay silent before it counts as TCP (server speaks first)."""
_EARLY_BYTES = 65_536
H1_INSPECTED = ("http/1.0", "http/1.1")
H2_INSPECTED = ("h2c",)


def router() -> Any:
    return hcm.HttpFilter(
        name="envoy.filters.http.router", typed_config=packed(router_pb2.Router(suppress_envoy_headers=True))
    )


def manager(direction: str, stat_prefix: str, route_config: str, filters: Sequence[Any] = ()) -> Any:
    """An HTTP connection manager whose routes come by RDS. `filters` run before the router."""
    config = hcm.HttpConnectionManager(
        stat_prefix=stat_prefix,
        rds={"config_source": ads(), "route_config_name": route_config},
        http_filters=[*filters, router()],
        access_log=[access_logs.http(direction)],
        upgrade_configs=[{"upgrade_type": "websocket"}],
        forward_client_cert_details="SANITIZE",
        server_header_transformation="PASS_THROUGH",
        # Rules about paths are about what the application will see: one spelling for each path.
        normalize_path={"value": True},
        merge_slashes=True,
        path_with_escaped_slashes_action="UNESCAPE_AND_FORWARD",
        # The peer's address is that of the connection; x-forwarded-for is the application's own affair.
        use_remote_address={"value": True},
        skip_xff_append=True,
        stream_idle_timeout={"seconds": 0},
        http_protocol_options={"accept_http_10": True},
    )
    return network_filter("envoy.filters.network.http_connection_manager", config)


def tcp_proxy(direction: str, stat_prefix: str, cluster: str, *, judged: bool = False) -> Any:
    """`judged`: RBAC filters stand before it. They decide at the client's first byte, so the application is dialled no
    sooner; else one that speaks first would have spoken to a client that is then denied (Envoy issue 9023)."""
    config = tcp_proxy_pb2.TcpProxy(
        stat_prefix=stat_prefix,
        cluster=cluster,
        access_log=[access_logs.tcp(direction)],
        idle_timeout={"seconds": 0},
        max_connect_attempts={"value": 3},
    )
    if judged:
        config.upstream_connect_mode = tcp_proxy_pb2.ON_DOWNSTREAM_DATA
        config.max_early_data_bytes.value = _EARLY_BYTES
    return network_filter("envoy.filters.network.tcp_proxy", config)


def network_filter(name: str, config: Any) -> Any:
    return listener_components_pb2.Filter(name=name, typed_config=packed(config))


def listener_filter(name: str, config: Any) -> Any:
    return listener_components_pb2.ListenerFilter(name=f"envoy.filters.listener.{name}", typed_config=packed(config))


def http_inspector() -> Any:
    return listener_filter("http_inspector", http_inspector_pb2.HttpInspector())


def tls_inspector() -> Any:
    return listener_filter("tls_inspector", tls_inspector_pb2.TlsInspector())


def original_dst() -> Any:
    return listener_filter("original_dst", original_dst_pb2.OriginalDst())


def chain(
    name: str, filters: Sequence[Any], *, match: dict[str, Any] | None = None, transport_socket: Any = None
) -> Any:
    return listener_components_pb2.FilterChain(
        name=name, filters=filters, filter_chain_match=match, transport_socket=transport_socket
    )
