"""Access logs over gRPC (ALS), to the control plane that the configuration came from."""

from __future__ import annotations

from typing import Any

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2

from meshlab.compile.xds.names import ADS_CLUSTER
from meshlab.compile.xds.resources import duration, packed

_FLUSH_MS = 500.0
_BUFFER_BYTES = 65_536
_OUTBOUND_TAGS = {
    "upstream_san": "%UPSTREAM_PEER_URI_SAN%",
    "upstream_tls": "%UPSTREAM_TLS_VERSION%",
    "upstream_cipher": "%UPSTREAM_TLS_CIPHER%",
}
_INBOUND_TAGS = {"peer_san": "%DOWNSTREAM_PEER_URI_SAN%", "peer_tls": "%DOWNSTREAM_TLS_VERSION%"}


def _common(log_name: str) -> dict[str, Any]:
    tags = _INBOUND_TAGS if log_name.startswith("inbound") else _OUTBOUND_TAGS
    return {
        "log_name": log_name,
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": ADS_CLUSTER}},
        "buffer_flush_interval": duration(_FLUSH_MS),
        "buffer_size_bytes": {"value": _BUFFER_BYTES},
        "custom_tags": [{"tag": tag, "value": value} for tag, value in tags.items()],
    }


def http(direction: str) -> Any:
    """`direction`: inbound or outbound; also the first half of the log's name."""
    config = als_pb2.HttpGrpcAccessLogConfig(
        common_config=_common(f"{direction}-http"), additional_request_headers_to_log=["traceparent"]
    )
    return accesslog_pb2.AccessLog(name="envoy.access_loggers.http_grpc", typed_config=packed(config))


def tcp(direction: str, *, refused_only: bool = False) -> Any:
    """`refused_only`: connections that no filter chain takes (plaintext to a STRICT port)."""
    config = als_pb2.TcpGrpcAccessLogConfig(common_config=_common(f"{direction}-tcp"))
    log = accesslog_pb2.AccessLog(name="envoy.access_loggers.tcp_grpc", typed_config=packed(config))
    if refused_only:
        log.filter.response_flag_filter.flags.append("NR")
    return log
