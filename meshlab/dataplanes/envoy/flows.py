"""Envoy's access logs (StreamAccessLogsMessage) to `FlowEvent`s: one per request, one per TCP connection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from envoy.data.accesslog.v3 import accesslog_pb2 as log
from envoy.service.accesslog.v3 import als_pb2

from meshlab.model.outcomes import VERDICT, Reason
from meshlab.telemetry.events import FlowEvent, Link, Part

_RULE = re.compile(r"matched_policy\[ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]\]")
_RULE_ID = re.compile(r"ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]")
_FLAGS: tuple[tuple[str, Reason], ...] = (
    ("rate_limited", Reason.RATE_LIMITED),
    ("fault_injected", Reason.FAULT),
    ("no_route_found", Reason.NO_ROUTE),
    ("no_cluster_found", Reason.NO_ROUTE),
    ("no_healthy_upstream", Reason.NO_HEALTHY_UPSTREAM),
    ("dns_resolution_failure", Reason.NO_HEALTHY_UPSTREAM),
    ("failed_local_healthcheck", Reason.SHUTDOWN),
    ("upstream_overflow", Reason.UPSTREAM_OVERFLOW),
    ("overload_manager", Reason.UPSTREAM_OVERFLOW),
    ("upstream_connection_failure", Reason.UPSTREAM_CONNECT_FAILED),
    ("upstream_request_timeout", Reason.UPSTREAM_TIMEOUT),
    ("upstream_max_stream_duration_reached", Reason.UPSTREAM_TIMEOUT),
    ("duration_timeout", Reason.UPSTREAM_TIMEOUT),
    ("stream_idle_timeout", Reason.IDLE_TIMEOUT),
    ("upstream_protocol_error", Reason.PROTOCOL_ERROR),
    ("downstream_protocol_error", Reason.PROTOCOL_ERROR),
    ("invalid_envoy_request_headers", Reason.PROTOCOL_ERROR),
    ("upstream_remote_reset", Reason.UPSTREAM_RESET),
    ("upstream_connection_termination", Reason.UPSTREAM_RESET),
    ("downstream_connection_termination", Reason.CLIENT_DISCONNECT),
    ("downstream_remote_reset", Reason.CLIENT_DISCONNECT),
    ("local_reset", Reason.UPSTREAM_RESET),
    ("upstream_retry_limit_exceeded", Reason.RETRIES_EXHAUSTED),
)
"""The first that is set counts, so causes stand before their consequences."""
_HARMLESS = ("delay_injected", "response_from_cache_filter")
_TLS = re.compile(r"TLS|SSL|CERTIFICATE", re.IGNORECASE)
_SWITCHING = 101
_BEGUN = (
    log.AccessLogType.TcpUpstreamConnected,
    log.AccessLogType.DownstreamTunnelSuccessfullyEstablished,
)
_VERSIONS = {
    log.HTTPAccessLogEntry.HTTP10: "http1",
    log.HTTPAccessLogEntry.HTTP11: "http1",
    log.HTTPAccessLogEntry.HTTP2: "http2",
}
Peers = Mapping[str, Mapping[str, Any]]
Own = dict[str, Mapping[str, Any]]


def decode(payload: bytes, reporter: str, peers: Peers) -> Iterator[FlowEvent]:
    """The events of one batch. `reporter` is the proxy's pod, unless a row says for which pod it was (a node's shared
    proxy speaks for many); `peers` tells addresses apart (names only: who a peer *is*, its certificate says)."""
    message = als_pb2.StreamAccessLogsMessage.FromString(payload)
    # A later pod may have the name of a former one, on another node: its own address tells which of them reports.
    pods: dict[str, Own] = {}
    for ip, peer in peers.items():
        pods.setdefault(f"{peer['namespace']}/{peer['pod']}", {})[ip] = peer

    def mine(common: log.AccessLogCommon) -> Own:
        return pods.get(common.custom_tags.get("pod") or reporter, {})

    for http in message.http_logs.log_entry:
        common = http.common_properties
        if not _tag(common.custom_tags, "tunnel"):
            yield _http(http, mine(common), peers)
        elif _is_carried(common) or common.access_log_type not in _BEGUN:
            yield _tunnelled(http, mine(common), peers)
    for tcp in message.tcp_logs.log_entry:
        yield _tcp(tcp, mine(tcp.common_properties), peers)


def _is_carried(common: log.AccessLogCommon) -> bool:
    """By the proxy, for the kernel to read; what leaves a tunnel tells its cluster, `inbound|hbone|<port>|read`."""
    return bool(_tag(common.custom_tags, "carried")) or _parts(common.upstream_cluster)[3:] == ["read"]


def _parts(cluster: str) -> list[str]:
    """Of a cluster's name, without whose it is."""
    return cluster.rpartition("@")[2].split("|")


def _link(common: log.AccessLogCommon, ends: Mapping[str, Any]) -> Link | None:
    if not _is_carried(common):
        return None
    began = common.access_log_type in _BEGUN
    inbound = ends["reporter"] == "destination"
    dialled = common.upstream_local_address.socket_address
    ip, port = (dialled.address, dialled.port_value) if inbound else (ends["source_ip"], ends["source_port"])
    if not ip:  # it was denied, and the application never dialled
        return None
    return Link(Part.BEGUN if began else Part.ENDED, ends["reporter"], ip, port or 0, ends["time"])


def _ms(duration: Any) -> float | None:
    return duration.seconds * 1e3 + duration.nanos / 1e6 if duration.ByteSize() else None


def _ends(common: log.AccessLogCommon, mine: Own, peers: Peers) -> dict[str, Any]:
    """Both ends of a flow, from the reporter's side; `mine` are the addresses of pods of its name."""
    tags = common.custom_tags
    inbound = tags.get("direction") == "inbound"
    client = common.downstream_direct_remote_address.socket_address
    local = common.downstream_local_address.socket_address
    own = mine.get((local if inbound else client).address) or next(reversed(mine.values()), {})
    server = local if inbound else common.upstream_remote_address.socket_address
    if not server.address:
        server = local
    source: Mapping[str, Any] = peers.get(client.address, {}) if inbound else own
    destination: Mapping[str, Any] = own if inbound else peers.get(server.address, {})
    proven = _tag(tags, "peer_san") if inbound else _tag(tags, "upstream_san")
    tls = bool(proven) or (not inbound and bool(_tag(tags, "upstream_tls")))
    source_ip = client.address or None
    if not inbound and source_ip is not None and source_ip.startswith("127."):  # diverted by the kernel plane
        source_ip = own.get("ip")
    return {
        "time": common.start_time.seconds * 1_000_000_000 + common.start_time.nanos,
        "reporter": "destination" if inbound else "source",
        "plane": own.get("mode", "sidecar"),
        "node": own.get("node"),
        "source_namespace": source.get("namespace"),
        "source_workload": source.get("workload"),
        "source_pod": source.get("pod"),
        "source_principal": proven if inbound else None,
        "source_ip": source_ip,
        "source_port": client.port_value or None,
        "destination_namespace": destination.get("namespace"),
        "destination_service": _service(common.upstream_cluster, destination),
        "destination_workload": destination.get("workload"),
        "destination_pod": destination.get("pod"),
        "destination_principal": None if inbound else proven,
        "destination_ip": server.address or None,
        "destination_port": _tunnel_port(tags) or server.port_value or None,
        "route": common.route_name or None,
        "mtls": tls,
        "setup_ms": _ms(common.time_to_first_upstream_tx_byte),
        "retries": max(0, common.upstream_request_attempt_count - 1),
    }


def _tag(tags: Mapping[str, str], name: str) -> str | None:
    value = tags.get(name, "")
    return value if value and value != "-" else None


def _tunnel_port(tags: Mapping[str, str]) -> int | None:
    """Where a tunnelled connection goes: its own end is at HBONE's port."""
    port = tags.get("tunnel", "").rpartition(":")[2]
    return int(port) if port.isdecimal() else None


def _service(cluster: str, destination: Mapping[str, Any]) -> str | None:
    parts = _parts(cluster)
    if len(parts) == 4 and parts[0] == "outbound" and parts[2] != "pod":
        name, namespace = parts[3].split(".")[:2]
        return f"{namespace}/{name}"
    services = destination.get("services") or []
    return f"{destination['namespace']}/{services[0]}" if len(services) == 1 else None


def _http(entry: log.HTTPAccessLogEntry, mine: Own, peers: Peers) -> FlowEvent:
    common, request, response = entry.common_properties, entry.request, entry.response
    status = response.response_code.value or None
    outcome = _outcome(common, response.response_code_details, status)
    grpc = request.request_headers.get("content-type", "").startswith("application/grpc")
    code = response.response_trailers.get("grpc-status") or response.response_headers.get("grpc-status")
    trace = request.request_headers.get("traceparent", "").split("-")
    latency = _ms(common.duration) or _ms(common.time_to_last_downstream_tx_byte)
    return FlowEvent(
        kind="request",
        protocol="grpc" if grpc else _VERSIONS.get(entry.protocol_version, "http1"),
        method=_method(request),
        path=request.path.split("?", 1)[0] or None,
        authority=request.authority or None,
        status=status,
        grpc_status=int(code) if code and code.isdigit() else None,
        latency_ms=latency,
        request_bytes=request.request_body_bytes,
        response_bytes=response.response_body_bytes,
        trace_id=trace[1] if len(trace) == 4 else None,
        **outcome,
        **_ends(common, mine, peers),
    )


def _tunnelled(entry: log.HTTPAccessLogEntry, mine: Own, peers: Peers) -> FlowEvent:
    """A connection that left a tunnel here: an HTTP/2 CONNECT. Of one that was let in, its end is no failure."""
    common, response = entry.common_properties, entry.response
    code = response.response_code.value
    carried = code == HTTPStatus.OK
    ends = _ends(common, mine, peers)
    return FlowEvent(
        kind="connection",
        protocol="tcp",
        duration_ms=_ms(common.duration) or _ms(common.time_to_last_downstream_tx_byte),
        request_bytes=entry.request.request_body_bytes,
        response_bytes=response.response_body_bytes if carried else 0,
        link=_link(common, ends),
        **_outcome(common, response.response_code_details, _SWITCHING if carried else code),
        **ends,
    )


def _method(request: log.HTTPRequestProperties) -> str | None:
    from envoy.config.core.v3 import base_pb2

    return base_pb2.RequestMethod.Name(request.request_method) if request.request_method else None


def _tcp(entry: log.TCPAccessLogEntry, mine: Own, peers: Peers) -> FlowEvent:
    common = entry.common_properties
    ends = _ends(common, mine, peers)
    return FlowEvent(
        kind="connection",
        protocol="tcp",
        link=_link(common, ends),
        duration_ms=_ms(common.duration),
        request_bytes=entry.connection_properties.received_bytes,
        response_bytes=entry.connection_properties.sent_bytes,
        **_outcome(common, common.connection_termination_details, None),
        **ends,
    )


def _outcome(common: log.AccessLogCommon, details: str, status: int | None) -> dict[str, Any]:
    """Verdict, reason, and the policy and rule that decided."""
    reason, policy, rule = Reason.OK, None, None
    found = _RULE.search(details)
    if details.startswith("rbac_access_denied"):
        reason = Reason.POLICY_DENY if found else Reason.NO_ALLOW_MATCH
        if found:
            policy, rule = f"{found[1]}/{found[2]}", int(found[3])
    elif common.custom_tags.get("details") == "filter_chain_not_found":
        reason = Reason.MTLS_REQUIRED
    else:
        reason = _by_flags(common, status)
        allowed = _allowed_by(common)
        if reason is Reason.OK and allowed:
            reason, policy, rule = Reason.POLICY_ALLOW, f"{allowed[1]}/{allowed[2]}", int(allowed[3])
    return {"verdict": str(VERDICT[reason]), "reason": str(reason), "policy": policy, "rule": rule}


def _by_flags(common: log.AccessLogCommon, status: int | None) -> Reason:
    if status == _SWITCHING:
        return Reason.OK  # it was served: that an end closes it later, however it does, is no failure
    set_ = {field.name for field, _ in common.response_flags.ListFields()}.difference(_HARMLESS)
    if not set_:
        return Reason.OK
    reason = next((why for name, why in _FLAGS if name in set_), Reason.UNKNOWN)
    if reason is Reason.UPSTREAM_CONNECT_FAILED and _TLS.search(common.upstream_transport_failure_reason):
        return Reason.UPSTREAM_TLS_FAILED
    return reason


def _allowed_by(common: log.AccessLogCommon) -> re.Match[str] | None:
    for name, metadata in common.metadata.filter_metadata.items():
        if "rbac" in name:
            value = metadata.fields.get("shadow_effective_policy_id")
            if value is not None and value.string_value:
                return _RULE_ID.fullmatch(value.string_value)
    return None
