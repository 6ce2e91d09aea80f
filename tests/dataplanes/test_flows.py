"""Access logs of a real Envoy, turned into flows."""

from __future__ import annotations

import http.client
import socket
import time

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2

from meshlab.dataplanes.sidecar import reasons
from meshlab.dataplanes.sidecar.flows import decode
from meshlab.model.outcomes import Reason, Verdict
from meshlab.telemetry.events import FlowEvent
from tests.dataplanes.real_envoy import HOST, Collector, Envoy

TRACE = "0af7651916cd43dd8448eb211c80319c"
OKS = 13


def _peer(ip: str, pod: str, workload: str, account: str, services: list[str]) -> dict[str, object]:
    return {"ip": ip, "namespace": "shop", "pod": pod, "workload": workload, "service_account": account,
            "node": f"node-{ip[-1]}", "mode": "sidecar", "uid": pod, "services": services}  # fmt: skip


PEERS = {
    "127.0.0.1": _peer("127.0.0.1", "web-1", "web", "web", ["web"]),
    "127.0.0.2": _peer("127.0.0.2", "ratings-1", "ratings", "ratings", ["shop/ratings"]),
}


def _get(address: str, port: int, path: str, source: str | None = None) -> int:
    bound = (source, 0) if source else None
    connection = http.client.HTTPConnection(address, port, timeout=20, source_address=bound)
    try:
        connection.request(
            "GET", path, headers={"host": "ratings.shop", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _decoded(payloads: list[bytes]) -> list[FlowEvent]:
    events = []
    for payload in payloads:
        log = als_pb2.StreamAccessLogsMessage.FromString(payload).identifier.log_name
        events += decode(payload, "shop/web-1" if log.startswith("outbound") else "shop/ratings-1", PEERS)
    return events


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """One run of everything; the tests look at its rows."""
    collector = Collector()
    try:
        envoy = Envoy(tmp_path_factory.mktemp("envoy"), collector.port)
        try:
            assert [_get("127.0.0.1", envoy.http, "/ok?n=1") for _ in range(OKS)] == [200] * OKS
            assert _get("127.0.0.1", envoy.http, "/secret") == 403
            assert _get("127.0.0.1", envoy.http, "/gone") == 503
            assert _get("127.0.0.1", envoy.http, "/broken") == 503
            assert _get("127.0.0.1", envoy.tcp, "/tcp") == 200
            with pytest.raises((http.client.HTTPException, OSError)):
                _get("127.0.0.2", envoy.plain, "/refused", "127.0.0.9")
            assert _get("127.0.0.2", envoy.plain, "/plain") == 200
            with socket.create_connection(("127.0.0.1", envoy.http)) as early:
                early.sendall(b"GET /silent HTTP/1.1\r\nhost: ratings.shop\r\n\r\n")
                time.sleep(0.2)
            assert _get("127.0.0.1", envoy.http, "/late") == 504
            for _ in range(100):
                time.sleep(0.1)
                if len(_decoded(collector.payloads)) >= 2 * OKS + 11:
                    break
        finally:
            envoy.stop()
    finally:
        collector.stop()
    return collector.payloads


@pytest.fixture(scope="module")
def flows(captured: list[bytes]) -> list[FlowEvent]:
    return _decoded(captured)


def _one(flows: list[FlowEvent], reporter: str, **wanted: object) -> FlowEvent:
    found = [e for e in flows if e.reporter == reporter and all(getattr(e, k) == v for k, v in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_each_request_gives_one_row_on_either_side(flows: list[FlowEvent]) -> None:
    for reporter in ("source", "destination"):
        assert sum(e.path == "/ok?n=1" and e.reporter == reporter for e in flows) == OKS


def test_the_callers_row_knows_both_ends_the_service_and_the_route(flows: list[FlowEvent]) -> None:
    row = next(e for e in flows if e.path == "/ok?n=1" and e.reporter == "source")
    assert (row.verdict, row.reason, row.status, row.protocol) == ("allowed", "ok", 200, "http1")
    assert (row.source_workload, row.source_pod, row.node) == ("web", "web-1", "node-1")
    assert (row.destination_namespace, row.destination_service) == ("shop", "ratings")
    assert (row.destination_workload, row.destination_pod, row.destination_ip) == ("ratings", "ratings-1", "127.0.0.2")
    assert row.source_principal == "cluster.local/ns/shop/sa/web"
    assert row.destination_principal == "cluster.local/ns/shop/sa/ratings"
    assert row.mtls is True
    assert row.route == "shop/split#0"
    assert (row.method, row.authority, row.trace_id) == ("GET", "ratings.shop", TRACE)
    assert (row.response_bytes, row.retries) == (5, 0)
    assert row.latency_ms is not None
    assert row.setup_ms is not None
    assert 0 < row.setup_ms < row.latency_ms < 20_000
    assert abs(row.time / 1e9 - time.time()) < 600


def test_the_servers_row_takes_principals_from_certificates(flows: list[FlowEvent]) -> None:
    row = next(e for e in flows if e.path == "/ok?n=1" and e.reporter == "destination")
    assert row.source_principal == "cluster.local/ns/shop/sa/web"
    assert row.destination_principal == "cluster.local/ns/shop/sa/ratings"
    assert (row.source_workload, row.destination_workload, row.node) == ("web", "ratings", "node-2")
    assert (row.destination_service, row.destination_port, row.mtls) == ("ratings", 8080, True)


def test_a_denied_request_names_policy_and_rule(flows: list[FlowEvent]) -> None:
    row = _one(flows, "destination", path="/secret")
    assert (row.verdict, row.reason, row.status) == ("denied", "policy_deny", 403)
    assert (row.policy, row.rule, row.closed_by) == ("shop/no-secrets", 1, "mesh")
    assert row.source_principal == "cluster.local/ns/shop/sa/web"


def test_a_backend_that_refuses_connections_is_a_failure_with_its_retries(flows: list[FlowEvent]) -> None:
    row = _one(flows, "source", path="/gone")
    assert (row.verdict, row.reason, row.retries) == ("failed", "upstream_connect_failed", 2)
    assert (row.destination_service, row.mtls, row.setup_ms) == ("ratings", None, None)


def test_an_applications_own_error_is_not_the_meshs(flows: list[FlowEvent]) -> None:
    row = _one(flows, "destination", path="/broken")
    assert (row.verdict, row.reason, row.status) == ("allowed", "ok", 503)


def test_a_client_that_goes_away_is_told_apart(flows: list[FlowEvent]) -> None:
    row = _one(flows, "source", path="/silent")
    assert (row.verdict, row.reason, row.closed_by) == ("failed", "client_disconnect", "source")


def test_a_backend_that_is_too_slow_is_told_apart(flows: list[FlowEvent]) -> None:
    row = _one(flows, "source", path="/late")
    assert (row.verdict, row.reason, row.status, row.closed_by) == ("failed", "upstream_timeout", 504, "mesh")
    assert row.mtls is False


def test_tcp_connections_give_one_row_on_either_side(flows: list[FlowEvent]) -> None:
    source = _one(flows, "source", kind="connection")
    target = _one(flows, "destination", kind="connection", mtls=True)
    assert source.source_principal == target.source_principal == "cluster.local/ns/shop/sa/web"
    assert (source.protocol, source.destination_service, source.verdict) == ("tcp", "ratings", "allowed")
    assert source.request_bytes == target.request_bytes
    assert source.response_bytes == target.response_bytes
    assert (source.latency_ms, source.status, source.path) == (None, None, None)
    assert source.duration_ms is not None


def test_plaintext_has_no_principal_whatever_its_address(flows: list[FlowEvent]) -> None:
    row = _one(flows, "destination", kind="connection", mtls=False, verdict="allowed")
    assert (row.source_principal, row.source_workload) == (None, "web")


def test_a_denied_connection_names_policy_and_rule(flows: list[FlowEvent]) -> None:
    row = _one(flows, "destination", kind="connection", verdict="denied")
    assert (row.reason, row.policy, row.rule, row.source_ip) == ("policy_deny", "shop/no-secrets", 1, "127.0.0.9")


def test_sides_are_told_apart_without_the_streams_identifier(captured: list[bytes], flows: list[FlowEvent]) -> None:
    found = []
    for payload in captured:
        message = als_pb2.StreamAccessLogsMessage.FromString(payload)
        reporter = "shop/web-1" if message.identifier.log_name.startswith("outbound") else "shop/ratings-1"
        message.ClearField("identifier")
        found += list(decode(message.SerializeToString(), reporter, PEERS))
    assert [e.reporter for e in found] == [e.reporter for e in flows]


def _message(**common: object) -> bytes:
    entry = accesslog_pb2.HTTPAccessLogEntry(common_properties=common)  # type: ignore[arg-type]
    message = als_pb2.StreamAccessLogsMessage()
    message.http_logs.log_entry.append(entry)
    return message.SerializeToString()


def test_entries_in_the_midst_of_a_stream_give_no_row() -> None:
    assert list(decode(_message(access_log_type=5), "shop/web-1", PEERS)) == []
    assert len(list(decode(_message(access_log_type=6), "shop/web-1", PEERS))) == 1


def test_grpc_is_known_by_its_content_type_or_status() -> None:
    message = als_pb2.StreamAccessLogsMessage()
    entry = message.http_logs.log_entry.add(protocol_version=3)
    entry.request.request_headers["content-type"] = "application/grpc+proto"
    entry.response.response_trailers["grpc-status"] = "7"
    [row] = decode(message.SerializeToString(), "shop/web-1", PEERS)
    assert (row.protocol, row.grpc_status) == ("grpc", 7)


def test_a_direct_call_to_a_pod_has_no_service() -> None:
    [row] = decode(_message(upstream_cluster="outbound|8080|pod|shop.ratings"), "shop/web-1", PEERS)
    assert (row.destination_service, row.destination_namespace) == (None, "shop")
    [row] = decode(_message(upstream_cluster=f"outbound|80|tcp|{HOST}"), "shop/web-1", PEERS)
    assert (row.destination_service, row.destination_namespace) == ("ratings", "shop")


def test_the_allow_rule_is_read_from_the_filters_metadata() -> None:
    common = accesslog_pb2.AccessLogCommon()
    metadata = common.metadata.filter_metadata["envoy.filters.http.rbac"]
    metadata.fields["shadow_effective_policy_id"].string_value = "ns[shop]-policy[only-web]-rule[0]"
    result = reasons.outcome(common, "via_upstream", 200)
    assert (result.reason, result.policy, result.rule) == (Reason.POLICY_ALLOW, "shop/only-web", 0)


@pytest.mark.parametrize(
    ("details", "reason", "policy"),
    [
        ("rbac_access_denied_matched_policy[none]", Reason.NO_ALLOW_MATCH, None),
        ("rbac_access_denied_matched_policy[ns[a]-policy[b.c]-rule[2]]", Reason.POLICY_DENY, "a/b.c"),
        ("rbac_access_denied_matched_policy[strict-mtls]", Reason.MTLS_REQUIRED, None),
    ],
)
def test_rbac_details(details: str, reason: Reason, policy: str | None) -> None:
    result = reasons.outcome(accesslog_pb2.AccessLogCommon(), details, 403)
    assert (result.verdict, result.reason, result.policy) == (Verdict.DENIED, reason, policy)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("delayed connect error: Connection refused", Reason.UPSTREAM_CONNECT_FAILED),
        ("TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED", Reason.IDENTITY_REFUSED),
        ("TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER", Reason.UPSTREAM_TLS_FAILED),
    ],
)
def test_a_failed_connection_tells_network_tls_and_identity_apart(words: str, reason: Reason) -> None:
    common = accesslog_pb2.AccessLogCommon(upstream_transport_failure_reason=words)
    common.response_flags.upstream_connection_failure = True
    assert reasons.outcome(common, "", 503).reason is reason


def test_every_response_flag_of_envoy_has_a_reason_or_is_known_to_be_harmless() -> None:
    harmless = {"delay_injected", "response_from_cache_filter", "rate_limit_service_error"}
    known = {flag for flag, _, _ in reasons._FLAGS} | harmless
    assert {field.name for field in accesslog_pb2.ResponseFlags.DESCRIPTOR.fields} == known
