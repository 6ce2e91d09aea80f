"""One behaviour on every plane: each protocol, declared and detected, mTLS, routes, and what the flow rows say of it.

`sidecar` and `sidecarless`: all pods, on two nodes; `kernel`: sidecarless on one node, where the kernel carries what it
can; `mixed`: a client with a sidecar, servers without."""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshlab import Lab
from meshlab.errors import MeshlabError
from tests.live import clients
from tests.live.documents import namespace, service, text, workload
from tests.live.tools import ip_of

CLIENT = "mesh/client"
INBOUND_REQUESTS = 'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="inbound"}'
BANNER = "220 detected ready\r\n"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

# What the ports of `declared` and `detected` are called, and where the echo listens.
DECLARED = [
    {"name": "http", "port": 80, "targetPort": 8080},
    {"name": "two", "appProtocol": "kubernetes.io/h2c", "port": 81, "targetPort": 8080},
    {"name": "grpc-echo", "port": 82, "targetPort": 8080},
    {"name": "raw", "appProtocol": "tcp", "port": 9000, "targetPort": 9000},
    {"name": "tcp-banner", "port": 9001, "targetPort": 9001},
]
DETECTED = [
    {"name": "a", "port": 80, "targetPort": 8080},
    {"name": "b", "port": 9000, "targetPort": 9000},
    {"name": "c", "port": 9001, "targetPort": 9001},
]
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: flaky, namespace: mesh}
spec:
  parentRefs: [{kind: Service, group: "", name: flaky}]
  rules:
  - matches: [{path: {value: /slow}}]
    timeouts: {request: 300ms}
    backendRefs: [{name: flaky, port: 80}]
  - retry: {attempts: 2, codes: [503]}
    backendRefs: [{name: flaky, port: 80}]
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: mesh}
spec: {mtls: {mode: STRICT}}
"""
WITHOUT_MTLS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: mesh}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: client-only, namespace: mesh}
spec:
  selector: {matchLabels: {app: unproven}}
  rules: [{from: [{source: {serviceAccounts: [client]}}]}]
"""


TLS_SERVER = """
import http.server, ssl, sys
class Own(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Own)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application's own: key and self-signed certificate for own.test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own.test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("own.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("own") / "own.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module", params=["sidecar", "sidecarless", "kernel", "mixed"])
def plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lab(certificate: Path, plane: str) -> Iterator[Lab]:
    servers = "sidecar" if plane == "sidecar" else "sidecarless"
    client = "sidecar" if plane == "mixed" else servers
    echo_ports = {"TCP_PORT": "9000", "BANNER_PORT": "9001"}
    http_port = [{"name": "http", "port": 80, "targetPort": 8080}]
    documents = [
        namespace("mesh", servers),
        namespace("plain", "none"),
        *workload("client", [], mode=client),
        *workload("client", [], namespace="plain"),
        *workload("declared", DECLARED, **echo_ports),
        *workload("detected", DETECTED, **echo_ports),
        *workload("unproven", DECLARED, **echo_ports),
        service("headless-declared", "declared", [{"name": "http", "port": 8080}], clusterIP="None"),
        service("headless-detected", "detected", [{"name": "a", "port": 8080}], clusterIP="None"),
        *workload("reviews", http_port),
        *workload("catalog", http_port, UPSTREAMS="http://reviews/trace"),
        *workload("web", http_port, UPSTREAMS="http://catalog/trace"),
        *workload("flaky", http_port, FAIL_EVERY="3"),
        *workload(
            "own-tls",
            [{"name": "https", "port": 443, "targetPort": 8443}, {"name": "x", "port": 444, "targetPort": 8443}],
            command=[sys.executable, "-c", TLS_SERVER, str(certificate)],
        ),
    ]
    with Lab(f"p{os.getpid() % 100000}-{plane[-4:]}", nodes=1 if plane == "kernel" else 2) as made:
        made.apply(text(documents))
        made.apply(ROUTE)
        made.wait(timeout_s=120)
        yield made


def rows(lab: Lab, count: int, **wanted: object) -> pd.DataFrame:
    """The flow rows with these values, once there are `count` of them."""
    deadline = time.monotonic() + 20
    while True:
        found = lab.flows(settle_s=0.3)
        for name, value in wanted.items():
            found = found[(found[name] == value).fillna(False)]
        if len(found) >= count or time.monotonic() > deadline:
            assert len(found) == count, found.dropna(axis="columns", how="all").to_string()
            return found


def proven(found: pd.DataFrame) -> bool:
    """Is every row's source known, by mutual TLS on the wire or, within a node, by the kernel?"""
    return bool((found["mtls"] | (found["observer"] == "ebpf")).all())


def both_ends(found: pd.DataFrame, protocol: str, **values: object) -> None:
    """One row of each reporter, of this protocol, proven by mTLS, allowed."""
    assert sorted(found["reporter"]) == ["destination", "source"]
    assert set(found["protocol"]) == {protocol}
    assert proven(found)
    assert set(found["verdict"]) == {"allowed"}
    assert set(found["source_principal"].dropna()) == {"spiffe://cluster.local/ns/mesh/sa/client"}
    for name, value in values.items():
        assert set(found[name]) == {value}


@pytest.mark.parametrize("target", ["declared", "detected"])
def test_http1_arrives_as_http1(lab: Lab, target: str) -> None:
    answer = clients.run(lab, CLIENT, clients.HTTP, f"http://{target}/h1-{target}")
    assert json.loads(answer["body"])["protocol"] == "http1"
    found = rows(lab, 2, path=f"/h1-{target}")
    both_ends(found, "http1", status=200)
    assert list(found[found["reporter"] == "source"]["destination_service"]) == [f"mesh/{target}"]


@pytest.mark.parametrize(("target", "port"), [("declared", 81), ("detected", 80)])
def test_http2_with_prior_knowledge_arrives_as_http2(lab: Lab, target: str, port: int) -> None:
    answer = clients.run(lab, CLIENT, clients.HTTP2, target, port, f"/h2-{target}")
    assert json.loads(answer["body"])["protocol"] == "http2"
    both_ends(rows(lab, 2, path=f"/h2-{target}"), "http2", status=200)


@pytest.mark.parametrize(("target", "port"), [("declared", 82), ("detected", 80)])
def test_grpc_unary_and_streams_with_their_status(lab: Lab, target: str, port: int) -> None:
    answer = clients.run(lab, CLIENT, clients.GRPC, f"{target}:{port}", 5)
    assert answer == {"unary": True, "repeated": 5, "streamed": list("0123456"), "code": "NOT_FOUND"}
    for method, code in (("Unary", 0), ("Repeat", 0), ("Stream", 0), ("Asked", 5)):
        found = rows(lab, 2, path=f"/meshlab.Echo/{method}", destination_workload=target)
        both_ends(found, "grpc", status=200, grpc_status=code)


@pytest.mark.parametrize("target", ["declared", "detected"])
def test_websocket_passes_both_ways(lab: Lab, target: str) -> None:
    answer = clients.run(lab, CLIENT, clients.WEBSOCKET, target, 80, f"/ws-{target}")
    assert answer == {"upgraded": True, "text": "text", "binary": True, "pong": True, "closed": 1000}
    both_ends(rows(lab, 2, path=f"/ws-{target}"), "http1", status=101)


@pytest.mark.parametrize("target", ["declared", "detected"])
def test_raw_tcp_arrives_byte_for_byte(lab: Lab, target: str) -> None:
    message = "\x01 not http \n" * 101
    assert clients.run(lab, CLIENT, clients.TCP, target, 9000, "", message)["echoed"] == message
    found = lab.flows()  # it waits for the rows of connections that have ended, too
    found = found[(found["destination_workload"] == target) & (found["destination_port"] == 9000)]
    both_ends(found, "tcp", request_bytes=len(message), response_bytes=len(message))


@pytest.mark.parametrize("target", ["declared", "detected"])
def test_a_server_that_speaks_first_is_heard_before_the_client_has_said_a_word(lab: Lab, target: str) -> None:
    banner = f"220 {target} ready\r\n"
    answer = clients.run(lab, CLIENT, clients.TCP, target, 9001, banner, "quit")
    assert answer == {"banner": banner, "echoed": "quit"}
    both_ends(rows(lab, 2, kind="connection", destination_workload=target, destination_port=9001), "tcp")


@pytest.mark.parametrize("target", ["declared", "detected"])
def test_a_headless_service_is_called_with_mtls(lab: Lab, target: str) -> None:
    answer = clients.run(lab, CLIENT, clients.HTTP, f"http://headless-{target}:8080/headless-{target}")
    assert json.loads(answer["body"])["name"] == target
    both_ends(rows(lab, 2, path=f"/headless-{target}"), "http1", status=200)


@pytest.mark.parametrize("target", ["declared", "detected"])
def test_a_pod_is_called_by_its_address_with_mtls(lab: Lab, target: str) -> None:
    address = ip_of(lab, target)
    answer = clients.run(lab, CLIENT, clients.HTTP, f"http://{address}:8080/address-{target}")
    assert json.loads(answer["body"])["name"] == target
    both_ends(rows(lab, 2, path=f"/address-{target}"), "http1", status=200, destination_workload=target)


def test_http2_and_a_server_that_speaks_first_by_the_address_of_a_pod_without_hints(lab: Lab) -> None:
    address = ip_of(lab, "detected")
    answer = clients.run(lab, CLIENT, clients.HTTP2, address, 8080, "/address-h2")
    assert json.loads(answer["body"])["protocol"] == "http2"
    both_ends(rows(lab, 2, path="/address-h2"), "http2", status=200)
    before = len(lab.flows())
    assert clients.run(lab, CLIENT, clients.TCP, address, 9001, BANNER, "quit") == {"banner": BANNER, "echoed": "quit"}
    assert proven(lab.flows()[before:])


def test_a_pod_calls_its_own_service(lab: Lab) -> None:
    answer = clients.run(lab, "mesh/declared", clients.HTTP, "http://declared/self")
    assert json.loads(answer["body"])["name"] == "declared"
    found = rows(lab, 2, path="/self")
    assert proven(found)
    assert set(found["source_workload"]) == {"declared"}


def test_plaintext_from_outside_the_mesh_passes_where_permissive_and_not_where_strict(lab: Lab) -> None:
    url = "http://declared.mesh/plain"
    assert clients.run(lab, "plain/client", clients.HTTP, url)["status"] == 200
    found = rows(lab, 1, path="/plain")
    assert (list(found["mtls"]), list(found["reporter"])) == ([False], ["destination"])
    assert list(found["source_workload"]) == ["client"]
    assert found["source_principal"].isna().all()
    lab.apply(STRICT)
    lab.wait()
    try:
        done = lab.exec("plain/client", [sys.executable, "-c", clients.HTTP, url])
        assert done.exit_code != 0
        assert "Error" in done.stderr.decode()
        [row] = rows(lab, 1, reason="mtls_required").to_dict("records")
        assert (row["verdict"], row["protocol"], row["mtls"], row["destination_port"]) == ("denied", "tcp", False, 8080)
        assert (row["source_namespace"], row["source_workload"]) == ("plain", "client")
        assert clients.run(lab, CLIENT, clients.HTTP, "http://declared/strict")["status"] == 200
    finally:
        lab.delete(STRICT)
        lab.wait()
    assert clients.run(lab, "plain/client", clients.HTTP, url)["status"] == 200


def test_where_mtls_is_disabled_no_plane_lets_anyone_in_by_identity(lab: Lab) -> None:
    """No certificate tells Envoy who calls; what the kernel knows must not make another verdict of it."""
    lab.apply(WITHOUT_MTLS)
    lab.wait()
    try:
        assert clients.run(lab, CLIENT, clients.HTTP, "http://unproven/nobody")["status"] == 403
        assert clients.run(lab, CLIENT, clients.HTTP, "http://declared/disabled")["status"] == 200
        done = lab.exec(CLIENT, [sys.executable, "-c", clients.TCP, "unproven", "9000", "", "x"])
        assert done.exit_code != 0 or json.loads(done.stdout)["echoed"] == ""
        refused = rows(
            lab, 1, verdict="denied", destination_workload="unproven", kind="connection", reporter="destination"
        )
        assert list(refused["reason"]) == ["no_allow_match"]
    finally:
        lab.delete(WITHOUT_MTLS)
        lab.wait()


@pytest.mark.parametrize(("source", "seen_from", "mtls"), [(CLIENT, 2, True), ("plain/client", 1, False)])
def test_the_application_s_own_tls_passes_through_untouched(
    lab: Lab, certificate: Path, source: str, seen_from: int, mtls: bool
) -> None:
    for port in (443, 444):
        answer = clients.run(lab, source, clients.TLS, "own-tls.mesh", port, certificate)
        assert answer == {"answer": "HTTP/1.0 200 OK", "certificate": "own.test"}
    namespace = source.split("/")[0]
    found = rows(lab, 2 * seen_from, source_namespace=namespace, destination_workload="own-tls", kind="connection")
    assert set(found["protocol"]) == {"tcp"}
    assert set(found["mtls"]) == {mtls}


def test_trace_context_passes_unchanged_from_end_to_end(lab: Lab) -> None:
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    answer = clients.run(lab, CLIENT, clients.HTTP, "http://web/trace", f"traceparent={parent}", "tracestate=a=1")
    report = json.loads(answer["body"])
    assert (report["headers"]["traceparent"], report["headers"]["tracestate"]) == (parent, "a=1")
    assert [one["status"] for one in report["upstreams"]] == [200]
    found = rows(lab, 6, trace_id=TRACE)
    assert sorted(found["destination_workload"]) == ["catalog", "catalog", "reviews", "reviews", "web", "web"]
    assert proven(found)


def test_a_route_that_retries_hides_a_backend_that_fails_every_third_time(lab: Lab) -> None:
    done = lab.traffic(CLIENT, "http://flaky/retried", rate=53.0, duration_s=1.0)
    assert done.summary["status"] == {"200": 53}
    found = rows(lab, 53, path="/retried", reporter="source")
    inbound = rows(lab, 53 + int(found["retries"].sum()), path="/retried", reporter="destination")
    assert (inbound["status"] == 503).sum() > 10
    assert set(found["route"]) == {"mesh/flaky#1"}


def test_a_request_beyond_its_time_ends_with_504_and_says_so(lab: Lab) -> None:
    assert clients.run(lab, CLIENT, clients.HTTP, "http://flaky/slow?delay=30000")["status"] == 504
    [row] = rows(lab, 1, path="/slow", reporter="source").to_dict("records")
    assert (row["status"], row["verdict"], row["reason"]) == (504, "failed", "upstream_timeout")


def test_another_pod_reads_the_proxy_s_statistics(lab: Lab) -> None:
    address = ip_of(lab, "declared")
    clients.run(lab, CLIENT, clients.HTTP, "http://declared/counted")
    seen = []
    for source in (CLIENT, "plain/client"):
        answer = clients.run(lab, source, clients.HTTP, f"http://{address}:15090/stats/prometheus")
        assert answer["status"] == 200
        assert "# TYPE envoy_http_downstream_rq_total counter" in answer["body"]
        seen.append([line for line in answer["body"].splitlines() if line.startswith(INBOUND_REQUESTS)])
    assert len(seen[0]) == 1
    assert seen[0] == seen[1], "that pod's own, whoever asks"


def test_a_command_that_no_program_could_get_is_refused_in_one_sentence(lab: Lab) -> None:
    with pytest.raises(MeshlabError, match="NUL"):
        lab.exec(CLIENT, ["echo", "\0"])
