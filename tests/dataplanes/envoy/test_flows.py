"""Envoy's access logs to flows: both ends, what became of it, who decided."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2 as log
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import json_format

from meshlab.dataplanes.envoy.flows import decode
from meshlab.model.outcomes import Reason
from meshlab.telemetry.events import FlowEvent, Link, Part

TRACE = "0af7651916cd43dd8448eb211c80319c"
WEB_ID, API_ID = "spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/api"


def _peer(ip: str, name: str, *services: str) -> dict[str, Any]:
    return {"ip": ip, "namespace": "shop", "pod": f"{name}-1", "workload": name, "service_account": name,
            "node": f"node-{name}", "mode": "sidecar", "uid": name, "services": list(services)}  # fmt: skip


PEERS = {"10.1.0.1": _peer("10.1.0.1", "web"), "10.1.0.2": _peer("10.1.0.2", "api", "api")}


def address(ip: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port}}


def outbound(**more: Any) -> dict[str, Any]:
    """What the client's proxy says of a call from web to api."""
    tags = {"direction": "outbound", "upstream_san": API_ID, "upstream_tls": "TLSv1.3", "peer_san": "-"}
    return {
        "start_time": "2026-01-02T03:04:05.000000678Z",
        "duration": "0.012s",
        "time_to_first_upstream_tx_byte": "0.0015s",
        "downstream_direct_remote_address": address("10.1.0.1", 40000),
        "downstream_local_address": address("10.96.0.1", 80),
        "upstream_remote_address": address("10.1.0.2", 8080),
        "upstream_cluster": "outbound|80||api.shop.svc.cluster.local",
        "upstream_request_attempt_count": 1,
        "route_name": "shop/split#0",
        "custom_tags": tags,
        **more,
    }


def inbound(**more: Any) -> dict[str, Any]:
    """What the server's proxy says of it."""
    return {
        **outbound(),
        "downstream_local_address": address("10.1.0.2", 8080),
        "upstream_remote_address": address("10.1.0.2", 8080),
        "upstream_cluster": "inbound",
        "custom_tags": {"direction": "inbound", "peer_san": WEB_ID, "upstream_san": "-", "upstream_tls": "-"},
        **more,
    }


REQUEST = {
    "request_method": "GET",
    "path": "/ok?n=1",
    "authority": "api.shop",
    "request_headers": {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
    "request_body_bytes": "3",
}


def http(common: dict[str, Any], *, status: int = 200, request: dict[str, Any] | None = None, **more: Any) -> FlowEvent:
    """The flow of one HTTP entry, as its reporter tells it."""
    response = {"response_code": status, "response_body_bytes": "5", **more}
    content = {
        "common_properties": common,
        "protocol_version": "HTTP11",
        "request": {**REQUEST, **(request or {})},
        "response": response,
    }
    message = als_pb2.StreamAccessLogsMessage()
    json_format.ParseDict(content, message.http_logs.log_entry.add())
    [event] = decode(message.SerializeToString(), reporter(common), PEERS)
    return event


def tcp(common: dict[str, Any]) -> FlowEvent:
    message = als_pb2.StreamAccessLogsMessage()
    content = {"common_properties": common, "connection_properties": {"received_bytes": "7", "sent_bytes": "11"}}
    json_format.ParseDict(content, message.tcp_logs.log_entry.add())
    [event] = decode(message.SerializeToString(), reporter(common), PEERS)
    return event


def reporter(common: dict[str, Any]) -> str:
    return "shop/web-1" if common["custom_tags"]["direction"] == "outbound" else "shop/api-1"


def test_the_callers_row_knows_both_ends_the_service_and_the_route() -> None:
    row = http(outbound())
    assert (row.kind, row.reporter, row.plane, row.observer, row.node) == (
        "request", "source", "sidecar", "envoy", "node-web",
    )  # fmt: skip
    assert row.time == 1767323045_000000678
    assert (row.source_namespace, row.source_workload, row.source_pod) == ("shop", "web", "web-1")
    assert (row.source_ip, row.source_port) == ("10.1.0.1", 40000)
    assert (row.destination_service, row.destination_workload, row.destination_pod) == ("shop/api", "api", "api-1")
    assert (row.destination_ip, row.destination_port) == ("10.1.0.2", 8080)
    assert (row.source_principal, row.destination_principal, row.mtls) == (None, API_ID, True)
    assert (row.method, row.path, row.authority, row.status, row.protocol) == ("GET", "/ok", "api.shop", 200, "http1")
    assert (row.route, row.trace_id, row.retries) == ("shop/split#0", TRACE, 0)
    assert (row.latency_ms, row.setup_ms) == (12.0, 1.5)
    assert (row.request_bytes, row.response_bytes) == (3, 5)
    assert (row.verdict, row.reason) == ("allowed", "ok")


def test_a_later_pod_of_the_same_name_is_told_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "10.1.0.9", {**PEERS["10.1.0.1"], "ip": "10.1.0.9", "node": "node-later"})
    later = address("10.1.0.9", 40000)
    assert http(outbound()).node == "node-web"
    assert http(outbound(downstream_direct_remote_address=later)).node == "node-later"
    assert http(outbound(downstream_direct_remote_address=address("127.0.0.1", 1))).node == "node-later"
    monkeypatch.setitem(PEERS, "10.1.0.9", {**PEERS["10.1.0.2"], "ip": "10.1.0.9", "node": "node-later"})
    assert http(inbound()).node == "node-api"
    assert http(inbound(downstream_local_address=later)).node == "node-later"


def test_the_servers_row_takes_the_principal_from_the_certificate() -> None:
    row = http(inbound())
    assert (row.reporter, row.node, row.mtls) == ("destination", "node-api", True)
    assert (row.source_principal, row.destination_principal) == (WEB_ID, None)
    assert (row.source_workload, row.destination_workload, row.destination_service) == ("web", "api", "shop/api")
    assert row.destination_port == 8080


def test_plaintext_has_no_principal_whatever_its_address() -> None:
    row = http(inbound(custom_tags={"direction": "inbound", "peer_san": "-"}))
    assert (row.source_principal, row.mtls, row.source_workload) == (None, False, "web")
    row = http(outbound(custom_tags={"direction": "outbound", "upstream_san": "", "upstream_tls": "-"}))
    assert (row.destination_principal, row.mtls) == (None, False)


def test_who_is_not_known_is_not_guessed() -> None:
    row = http(outbound(upstream_remote_address=address("192.0.2.1", 443), upstream_cluster="passthrough"))
    assert (row.destination_ip, row.destination_port) == ("192.0.2.1", 443)
    assert (row.destination_workload, row.destination_service, row.destination_namespace) == (None, None, None)


def test_a_call_that_reached_no_backend_ends_where_it_was_going() -> None:
    row = http(outbound(upstream_remote_address={}), status=503)
    assert (row.destination_ip, row.destination_port) == ("10.96.0.1", 80)
    assert row.destination_service == "shop/api"


def test_retries_are_the_attempts_beyond_the_first() -> None:
    assert http(outbound(upstream_request_attempt_count=3)).retries == 2
    assert http(outbound(upstream_request_attempt_count=0)).retries == 0


@pytest.mark.parametrize(("version", "protocol"), [("HTTP10", "http1"), ("HTTP11", "http1"), ("HTTP2", "http2")])
def test_the_protocol_is_the_one_that_was_spoken(version: str, protocol: str) -> None:
    message = als_pb2.StreamAccessLogsMessage()
    content = {"common_properties": outbound(), "protocol_version": version}
    json_format.ParseDict(content, message.http_logs.log_entry.add())
    [row] = decode(message.SerializeToString(), "shop/web-1", PEERS)
    assert row.protocol == protocol


@pytest.mark.parametrize("where", ["response_trailers", "response_headers"])
def test_grpc_has_its_own_status(where: str) -> None:
    call = {"request_headers": {"content-type": "application/grpc+proto"}}
    row = http(outbound(), request=call, **{where: {"grpc-status": "7"}})
    assert (row.protocol, row.status, row.grpc_status) == ("grpc", 200, 7)
    assert http(outbound(), request=call).grpc_status is None


FLAGS = {
    "no_route_found": Reason.NO_ROUTE,
    "no_cluster_found": Reason.NO_ROUTE,
    "no_healthy_upstream": Reason.NO_HEALTHY_UPSTREAM,
    "upstream_connection_failure": Reason.UPSTREAM_CONNECT_FAILED,
    "upstream_remote_reset": Reason.UPSTREAM_RESET,
    "upstream_connection_termination": Reason.UPSTREAM_RESET,
    "upstream_request_timeout": Reason.UPSTREAM_TIMEOUT,
    "upstream_overflow": Reason.UPSTREAM_OVERFLOW,
    "upstream_retry_limit_exceeded": Reason.RETRIES_EXHAUSTED,
    "downstream_connection_termination": Reason.CLIENT_DISCONNECT,
    "downstream_protocol_error": Reason.PROTOCOL_ERROR,
    "stream_idle_timeout": Reason.IDLE_TIMEOUT,
    "failed_local_healthcheck": Reason.SHUTDOWN,
    "local_reset": Reason.UPSTREAM_RESET,
    "delay_injected": Reason.OK,
    "fault_injected": Reason.FAULT,
    "rate_limited": Reason.RATE_LIMITED,
    "unauthorized_details": Reason.UNKNOWN,
    "rate_limit_service_error": Reason.UNKNOWN,
    "invalid_envoy_request_headers": Reason.PROTOCOL_ERROR,
    "upstream_max_stream_duration_reached": Reason.UPSTREAM_TIMEOUT,
    "response_from_cache_filter": Reason.OK,
    "no_filter_config_found": Reason.UNKNOWN,
    "duration_timeout": Reason.UPSTREAM_TIMEOUT,
    "upstream_protocol_error": Reason.PROTOCOL_ERROR,
    "overload_manager": Reason.UPSTREAM_OVERFLOW,
    "dns_resolution_failure": Reason.NO_HEALTHY_UPSTREAM,
    "downstream_remote_reset": Reason.CLIENT_DISCONNECT,
}
VERDICTS = {Reason.OK: "allowed", Reason.RATE_LIMITED: "denied"}


def test_every_response_flag_of_envoy_has_a_reason() -> None:
    assert {field.name for field in log.ResponseFlags.DESCRIPTOR.fields} == set(FLAGS)


@pytest.mark.parametrize("flag", FLAGS)
def test_each_response_flag_is_the_reason_of_its_row(flag: str) -> None:
    value: Any = {"reason": "EXTERNAL_SERVICE"} if flag == "unauthorized_details" else True
    row = http(outbound(response_flags={flag: value}), status=503)
    assert row.reason == FLAGS[flag]
    assert row.verdict == VERDICTS.get(FLAGS[flag], "failed")
    assert (row.policy, row.rule) == (None, None)


def test_the_first_cause_counts_when_retries_ran_out() -> None:
    flags = {"upstream_retry_limit_exceeded": True, "upstream_connection_failure": True}
    assert http(outbound(response_flags=flags), status=503).reason == "upstream_connect_failed"


def test_a_websocket_that_its_client_closed_is_no_failure() -> None:
    flags = {"downstream_connection_termination": True}
    assert http(outbound(response_flags=flags), status=101).verdict == "allowed"
    assert http(outbound(response_flags=flags), status=200).reason == "client_disconnect"


def test_an_applications_own_error_is_not_the_meshs() -> None:
    row = http(inbound(), status=503)
    assert (row.verdict, row.reason, row.status) == ("allowed", "ok", 503)


def test_a_failed_handshake_with_the_backend_is_told_apart() -> None:
    words = "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:TLS_error_end"
    flags = {"upstream_connection_failure": True}
    row = http(outbound(response_flags=flags, upstream_transport_failure_reason=words), status=503)
    assert (row.verdict, row.reason) == ("failed", "upstream_tls_failed")
    refused = "delayed connect error: Connection refused"
    row = http(outbound(response_flags=flags, upstream_transport_failure_reason=refused), status=503)
    assert row.reason == "upstream_connect_failed"


DENIED = "rbac_access_denied_matched_policy[ns[shop]-policy[no.secrets]-rule[2]]"
NOT_ALLOWED = "rbac_access_denied_matched_policy[none]"


@pytest.mark.parametrize(
    ("details", "reason", "policy", "rule"),
    [(DENIED, "policy_deny", "shop/no.secrets", 2), (NOT_ALLOWED, "no_allow_match", None, None)],
)
def test_a_denied_request_names_policy_and_rule(
    details: str, reason: str, policy: str | None, rule: int | None
) -> None:
    row = http(inbound(), status=403, response_code_details=details)
    assert (row.verdict, row.reason, row.policy, row.rule) == ("denied", reason, policy, rule)


@pytest.mark.parametrize(
    ("details", "reason", "policy", "rule"),
    [(DENIED, "policy_deny", "shop/no.secrets", 2), (NOT_ALLOWED, "no_allow_match", None, None)],
)
def test_a_denied_connection_names_policy_and_rule(
    details: str, reason: str, policy: str | None, rule: int | None
) -> None:
    row = tcp(inbound(connection_termination_details=details))
    assert (row.kind, row.verdict, row.reason, row.policy, row.rule) == ("connection", "denied", reason, policy, rule)


def test_an_allowed_request_names_the_rule_that_allowed_it() -> None:
    rule = {"shadow_effective_policy_id": "ns[shop]-policy[readers]-rule[0]", "shadow_engine_result": "allowed"}
    metadata = {"filter_metadata": {"envoy.filters.http.rbac.allow": rule}}
    row = http(inbound(metadata=metadata))
    assert (row.verdict, row.reason, row.policy, row.rule) == ("allowed", "policy_allow", "shop/readers", 0)


def test_a_connection_has_bytes_and_a_duration_and_no_status() -> None:
    row = tcp(outbound())
    assert (row.kind, row.protocol, row.duration_ms, row.latency_ms) == ("connection", "tcp", 12.0, None)
    assert (row.request_bytes, row.response_bytes) == (7, 11)
    assert (row.status, row.method, row.path, row.trace_id) == (None, None, None, None)
    assert (row.verdict, row.destination_service, row.mtls) == ("allowed", "shop/api", True)


def test_a_call_to_a_pod_by_its_address_is_of_the_pods_only_service() -> None:
    row = http(outbound(upstream_cluster="outbound||pod|shop.api"))
    assert (row.destination_service, row.destination_pod) == ("shop/api", "api-1")


BEGUN, ENDED = "TcpUpstreamConnected", "TcpConnectionEnd"
TUNNEL_BEGUN, TUNNEL_ENDED = "DownstreamTunnelSuccessfullyEstablished", "DownstreamEnd"


@pytest.mark.parametrize(("kind", "part"), [(BEGUN, Part.BEGUN), (ENDED, Part.ENDED)])
def test_what_is_carried_says_which_connection_it_was_for_the_kernels_rows(kind: str, part: Part) -> None:
    common = outbound(access_log_type=kind)
    common["custom_tags"] = {**common["custom_tags"], "carried": "yes"}
    row = tcp(common)
    assert row.link == Link(part, "source", "10.1.0.1", 40000, row.time)
    dialled = inbound(access_log_type=kind, upstream_local_address=address("10.1.0.1", 51000))
    dialled["custom_tags"] = {**dialled["custom_tags"], "carried": "yes"}
    row = tcp(dialled)
    assert (row.source_port, row.link) == (40000, Link(part, "destination", "10.1.0.1", 51000, row.time))
    del dialled["upstream_local_address"]
    assert tcp(dialled).link is None, "denied before anyone was dialled"
    assert tcp(inbound()).link is None


def test_a_tunnels_begin_is_told_of_what_the_kernel_reads_alone() -> None:
    def rows(kind: str, cluster: str) -> list[FlowEvent]:
        common = inbound(access_log_type=kind, upstream_cluster=cluster, upstream_local_address=address("10.1.0.1", 5))
        common["custom_tags"] = {**common["custom_tags"], "tunnel": "api.shop:8080"}
        message = als_pb2.StreamAccessLogsMessage()
        content = {"common_properties": common, "response": {"response_code": 200}}
        json_format.ParseDict(content, message.http_logs.log_entry.add())
        return list(decode(message.SerializeToString(), "shop/api-1", PEERS))

    for kind, part in ((TUNNEL_BEGUN, Part.BEGUN), (TUNNEL_ENDED, Part.ENDED)):
        [row] = rows(kind, "shop/api-1@inbound|hbone|8080|read")
        assert (row.kind, row.destination_port) == ("connection", 8080)
        assert row.link == Link(part, "destination", "10.1.0.1", 5, row.time)
    assert rows(TUNNEL_BEGUN, "shop/api-1@inbound|hbone|9000|") == []
    [row] = rows(TUNNEL_ENDED, "shop/api-1@inbound|hbone|9000|")
    assert row.link is None


def test_an_empty_batch_has_no_flows() -> None:
    assert list(decode(b"", "shop/web-1", PEERS)) == []
