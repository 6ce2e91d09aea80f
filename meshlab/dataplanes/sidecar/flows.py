"""Envoy's access logs (ALS messages) turned into flows: one per HTTP request or TCP connection.

What stands for what: workloads, pods and nodes are looked up by address among the pods that the control plane has seen;
principals never are: they come from the certificates only. The reporter's own side is the pod whose proxy sent the log.
ALS sends its identifier with the first message of a stream only: the collector repeats it in front of each payload; a
payload without one is still told apart by its cluster names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from envoy.service.accesslog.v3 import als_pb2

from meshlab.dataplanes.sidecar.reasons import Outcome, outcome
from meshlab.telemetry.events import FlowEvent

Peer = Mapping[str, Any]
"""A row of `GET /peers`: ip, namespace, pod, workload, service_account, node, mode, uid, services."""

_PROTOCOLS = {1: "http1", 2: "http1", 3: "http2", 4: "http3"}
_FINAL = frozenset((0, 3, 6))
"""Access log types that end a request or connection: NotSet, TcpConnectionEnd, DownstreamEnd."""
_SPIFFE = "spiffe://"
_NOBODY: Peer = {}


def decode(payload: bytes, reporter: str, peers: Mapping[str, Peer]) -> Iterator[FlowEvent]:
    """The flows of one serialised StreamAccessLogsMessage. `reporter`: `<namespace>/<pod>`; `peers`: by address.

    Entries in the midst of a stream (periodic ones) give no flow. google.protobuf's DecodeError for other bytes.
    """
    message = als_pb2.StreamAccessLogsMessage.FromString(payload)
    log = message.identifier.log_name
    own = _own(reporter, peers)
    for http in message.http_logs.log_entry:
        if http.common_properties.access_log_type in _FINAL:
            yield _request(http, _side(log, http.common_properties, own), own, peers)
    for tcp in message.tcp_logs.log_entry:
        if tcp.common_properties.access_log_type in _FINAL:
            yield _connection(tcp, _side(log, tcp.common_properties, own), own, peers)


def _own(reporter: str, peers: Mapping[str, Peer]) -> Peer:
    namespace, _, pod = reporter.partition("/")
    for peer in peers.values():
        if peer["pod"] == pod and peer["namespace"] == namespace:
            return peer
    return {"namespace": namespace, "pod": pod}


def _side(log: str, common: Any, own: Peer) -> str:
    """The reporter's end of the call: source or destination."""
    name = log or common.upstream_cluster
    if name.startswith("inbound"):
        return "destination"
    if name.startswith("outbound") or not own.get("ip"):
        return "source"
    return "destination" if common.downstream_local_address.socket_address.address == own["ip"] else "source"


def _request(entry: Any, side: str, own: Peer, peers: Mapping[str, Peer]) -> FlowEvent:
    common, request, response = entry.common_properties, entry.request, entry.response
    status = response.response_code.value
    result = outcome(common, response.response_code_details, status)
    headers = request.request_headers
    grpc_status = _grpc_status(response)
    is_grpc = grpc_status is not None or headers.get("content-type", "").startswith("application/grpc")
    fields = _common(common, side, result, own, peers, request.authority)
    return FlowEvent(
        kind="request",
        protocol="grpc" if is_grpc else _PROTOCOLS.get(entry.protocol_version, "http1"),
        method=_METHODS(request.request_method),
        path=request.original_path or request.path or None,
        authority=request.authority or None,
        status=status or None,
        grpc_status=grpc_status,
        route=common.route_name or None,
        latency_ms=fields["duration_ms"],
        setup_ms=_ms(common.time_to_first_upstream_tx_byte)
        if common.HasField("time_to_first_upstream_tx_byte")
        else None,
        request_bytes=request.request_body_bytes,
        response_bytes=response.response_body_bytes,
        retries=max(common.upstream_request_attempt_count - 1, 0),
        trace_id=_trace_id(headers.get("traceparent", "")),
        **fields,
    )


def _connection(entry: Any, side: str, own: Peer, peers: Mapping[str, Peer]) -> FlowEvent:
    common, connection = entry.common_properties, entry.connection_properties
    result = outcome(common, common.connection_termination_details, 0)
    return FlowEvent(
        kind="connection",
        protocol="tcp",
        route=common.route_name or None,
        request_bytes=connection.received_bytes,
        response_bytes=connection.sent_bytes,
        retries=max(common.upstream_request_attempt_count - 1, 0),
        **_common(common, side, result, own, peers, ""),
    )


def _common(
    common: Any, side: str, result: Outcome, own: Peer, peers: Mapping[str, Peer], authority: str
) -> dict[str, Any]:
    """What requests and connections share."""
    ends = (_source_ends if side == "source" else _destination_ends)(common, own, peers, authority)
    start = common.start_time
    return {
        "time": start.seconds * 1_000_000_000 + start.nanos,
        "plane": "sidecar",
        "observer": "envoy",
        "reporter": side,
        "node": own.get("node"),
        "verdict": result.verdict.value,
        "reason": result.reason.value,
        "policy": result.policy,
        "rule": result.rule,
        "closed_by": result.closed_by,
        "duration_ms": _ms(common.duration),
        **ends,
    }


def _source_ends(common: Any, own: Peer, peers: Mapping[str, Peer], _authority: str) -> dict[str, Any]:
    """Both ends as the caller's proxy knows them: the server is the backend that was chosen, if one was."""
    caller = common.downstream_direct_remote_address.socket_address
    served = common.HasField("upstream_remote_address")
    server = (common.upstream_remote_address if served else common.downstream_local_address).socket_address
    peer = peers.get(server.address, _NOBODY)
    service, namespace = _service(common.upstream_cluster)
    tags = common.custom_tags
    proved = _principal(tags.get("upstream_san", ""))
    mtls = bool(proved and tags.get("upstream_tls")) if common.HasField("upstream_local_address") else None
    return {
        **_named("source", own),
        "source_ip": own.get("ip") or caller.address or None,
        "source_port": caller.port_value or None,
        "source_principal": (_principal(tags.get("upstream_local_san", "")) or _same_domain(proved, own))
        if mtls
        else None,
        **_named("destination", peer),
        "destination_namespace": peer.get("namespace") or namespace,
        "destination_service": service,
        "destination_ip": server.address or None,
        "destination_port": server.port_value or None,
        "destination_principal": proved,
        "mtls": mtls,
        "tls_group": tags.get("upstream_group") or None,
    }


def _destination_ends(common: Any, own: Peer, peers: Mapping[str, Peer], authority: str) -> dict[str, Any]:
    """Both ends as the server's proxy knows them."""
    caller = common.downstream_direct_remote_address.socket_address
    local = common.downstream_local_address.socket_address
    tls = common.tls_properties
    proved = _principal(common.custom_tags.get("peer_san", "")) or _certified(tls.peer_certificate_properties)
    port = common.upstream_cluster.split("|", 2)[1:2] if common.upstream_cluster.startswith("inbound|") else []
    return {
        **_named("source", peers.get(caller.address, _NOBODY)),
        "source_ip": caller.address or None,
        "source_port": caller.port_value or None,
        "source_principal": proved,
        **_named("destination", own),
        "destination_service": _asked_for(own, authority),
        "destination_ip": own.get("ip") or local.address or None,
        "destination_port": (int(port[0]) if port and port[0].isdigit() else 0) or local.port_value or None,
        "destination_principal": _certified(tls.local_certificate_properties) if proved else None,
        "mtls": proved is not None,
        "tls_group": common.custom_tags.get("peer_group") or None,
    }


def _named(end: str, peer: Peer) -> dict[str, Any]:
    return {
        f"{end}_namespace": peer.get("namespace"),
        f"{end}_workload": peer.get("workload"),
        f"{end}_pod": peer.get("pod"),
    }


def _service(cluster: str) -> tuple[str | None, str | None]:
    """`outbound|80|<variant>|ratings.shop.svc.cluster.local` is ("ratings", "shop"); a direct call has no Service."""
    parts = cluster.split("|")
    if len(parts) != 4 or parts[0] != "outbound":
        return None, None
    names = parts[3].split(".")
    if parts[2] == "pod" or len(names) < 3:
        return None, names[0] if parts[2] == "pod" else None
    return names[0], names[1]


def _asked_for(own: Peer, authority: str) -> str | None:
    """The Service by which a pod was called: the host asked for, or its only one."""
    services = [str(name).rpartition("/")[2].partition(".")[0] for name in own.get("services") or ()]
    host = authority.partition(":")[0].partition(".")[0]
    if host in services:
        return host
    return services[0] if len(services) == 1 else None


def _principal(san: str) -> str | None:
    """The SPIFFE ID without its scheme, the form that policies use; of several names the first SPIFFE one."""
    for name in san.split(","):
        if name.startswith(_SPIFFE):
            return name[len(_SPIFFE) :]
    return None


def _certified(certificate: Any) -> str | None:
    for name in certificate.subject_alt_name:
        if name.uri.startswith(_SPIFFE):
            return str(name.uri[len(_SPIFFE) :])
    return None


def _same_domain(proved: str | None, own: Peer) -> str | None:
    """The reporter's own identity: the control plane gives a proxy no other, in the trust domain of its peer."""
    if proved is None or not own.get("service_account"):
        return None
    return f"{proved.partition('/')[0]}/ns/{own['namespace']}/sa/{own['service_account']}"


def _grpc_status(response: Any) -> int | None:
    text = response.response_trailers.get("grpc-status") or response.response_headers.get("grpc-status")
    return int(text) if text and text.isdigit() else None


def _trace_id(traceparent: str) -> str | None:
    """W3C Trace Context: `version-traceid-parentid-flags`; the all-zero id is not one."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].strip("0") else None


def _ms(duration: Any) -> float:
    return float(duration.seconds * 1000 + duration.nanos / 1e6)


def _methods() -> Callable[[int], str | None]:
    from envoy.config.core.v3 import base_pb2

    names = {number: name for name, number in base_pb2.RequestMethod.items() if number}
    return names.get


_METHODS = _methods()
