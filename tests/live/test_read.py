"""What the kernel reads: within a node, and at both ends of what nodes' proxies only carry, by TLS or in tunnels."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pandas as pd
import pytest

from meshlab import Lab
from meshlab.model.services import HBONE, TUNNEL_LABEL
from tests.live import clients
from tests.live.documents import namespace, text, workload
from tests.live.tools import Load, agent_pids, counters, kill, left_of, rows_of

CLIENT, SERVER = "mesh/client", "spiffe://cluster.local/ns/mesh/sa/server"
PORTS = [
    {"name": "http", "port": 80, "targetPort": 8080},
    {"name": "http-dead", "port": 81, "targetPort": 8081},
]
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: policy, namespace: mesh}
spec: {selector: {matchLabels: {app: server}}, action: %s, rules: [%s]}
"""
FROM_CLIENT = "{from: [{source: {serviceAccounts: [client]}}]}"
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: server, namespace: mesh}
spec:
  parentRefs: [{kind: Service, group: "", name: server, port: 80}]
  rules: [{backendRefs: [{name: server, port: 80}]}]
"""
UPLOAD = """
import http.client, json, sys
client = http.client.HTTPConnection(sys.argv[1], timeout=20)
block = bytes(range(256)) * 4096
client.request("POST", "/up", body=block)
one = client.getresponse()
one.read()
client.request("POST", "/up", body=iter([block] * 3), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
two = client.getresponse()
two.read()
client.request("GET", "/up?bytes=3000000")
three = client.getresponse()
print(json.dumps({"status": [one.status, two.status, three.status], "bytes": len(three.read())}))
"""
PIPELINE = """
import json, socket, sys
wire = socket.create_connection((sys.argv[1], 80), timeout=15)
wire.sendall(b"".join(b"GET /pipelined?bytes=%d HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" % size for size in (11, 200000, 13)))
wire.shutdown(socket.SHUT_WR)
answer = b""
while more := wire.recv(65536):
    answer += more
print(json.dumps({"answers": answer.count(b"HTTP/1.1 200 OK"), "enough": len(answer) > 200024}))
"""
ALONE = """
import http.client, json, sys
for number in range(int(sys.argv[2])):
    client = http.client.HTTPConnection(sys.argv[1], timeout=15)
    client.request("GET", "/alone", headers={"Connection": "close"})
    assert client.getresponse().read()
    client.close()
print("{}")
"""
DEAD = """
import http.client, json, sys
client = http.client.HTTPConnection(sys.argv[1], 81, timeout=15)
try:
    client.request("GET", "/dead")
    print(json.dumps({"came": client.getresponse().status}))
except (OSError, http.client.HTTPException) as error:
    print(json.dumps({"came": type(error).__name__}))
"""


def told(lab: Lab) -> pd.DataFrame:
    """The rows of all but DNS."""
    found = lab.flows()
    return found[found["protocol"] != "dns"]


@pytest.fixture(scope="module", params=["within a node", "by TLS", "in tunnels"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def lab(way: str) -> Iterator[Lab]:
    name = f"r{os.getpid() % 100000}"
    client, other, server = workload("client", []), workload("other", []), workload("server", PORTS)
    away = "node-1" if way == "within a node" else "node-2"
    for documents, node in ((client, "node-1"), (other, "node-1"), (server, away)):
        documents[1]["spec"]["template"]["spec"]["nodeName"] = node
    server[-1]["metadata"]["labels"] = {TUNNEL_LABEL: HBONE} if way == "in tunnels" else {}
    with Lab(name, nodes=2) as made:
        made.apply(text([namespace("mesh", "sidecarless"), *client, *other, *server]))
        made.wait(timeout_s=120)
        yield made
    assert left_of(name) == []


def test_a_prime_number_of_requests_is_that_many_rows_of_each_end(lab: Lab, way: str) -> None:
    done = lab.traffic(CLIENT, "http://server/counted", rate=337.0, duration_s=3.0)
    assert done.summary["ok"] == done.summary["sent"] == 1011
    found = rows_of(lab, "/counted")
    assert dict(found["reporter"].value_counts()) == {"source": 1011, "destination": 1011}
    assert set(found["trace_id"]) == set(done.frame["trace_id"])
    columns = (
        "observer", "plane", "verdict", "reason", "status", "method", "protocol", "authority", "mtls",
        "source_principal", "source_pod", "destination_principal", "destination_pod", "destination_service",
        "destination_port",
    )  # fmt: skip
    assert {name: set(found[name]) for name in columns} == {
        "observer": {"ebpf"}, "plane": {"sidecarless"}, "verdict": {"allowed"}, "reason": {"ok"}, "status": {200},
        "method": {"GET"}, "protocol": {"http1"}, "authority": {"server"}, "mtls": {way != "within a node"},
        "source_principal": {"spiffe://cluster.local/ns/mesh/sa/client"}, "source_pod": {"client-1"},
        "destination_principal": {SERVER}, "destination_pod": {"server-1"}, "destination_service": {"mesh/server"},
        "destination_port": {8080},
    }  # fmt: skip
    assert (found["latency_ms"] > 0).all()
    assert found["config_version"].notna().all()
    proxies = lab.proxies()
    assert (proxies["rows_written"] == proxies["rows_received"]).all()


def test_connections_of_one_request_each_leave_a_row_of_each_end_and_nothing_in_the_maps(lab: Lab) -> None:
    before = len(told(lab))
    clients.run(lab, CLIENT, ALONE, "server", 101)
    found = told(lab)[before:]
    assert {name: set(found[name]) for name in ("kind", "path", "verdict")} == {
        "kind": {"request"}, "path": {"/alone"}, "verdict": {"allowed"}
    }  # fmt: skip
    assert dict(found["reporter"].value_counts()) == {"source": 101, "destination": 101}
    assert found["source_principal"].notna().all()
    deadline = time.monotonic() + 10
    while (counted := counters(lab))["flows"] != counted["flows_ended"]:
        assert time.monotonic() < deadline, counted
        time.sleep(0.1)
    lost = {name: counted[name] for name in counted if name.endswith("lost")}
    assert set(lost.values()) == {0}, lost


def test_bodies_arrive_whole_and_are_measured(lab: Lab) -> None:
    answer = clients.run(lab, CLIENT, UPLOAD, "server")
    assert answer == {"status": [200, 200, 200], "bytes": 3_000_000}
    found = rows_of(lab, "/up")
    for reporter in ("source", "destination"):
        sent = found[found["reporter"] == reporter].sort_values("time")
        assert list(sent["method"]) == ["POST", "POST", "GET"]
        assert list(sent["request_bytes"][:1]) == [1 << 20]
        assert 3 << 20 < sent["request_bytes"].iloc[1] < (3 << 20) + 100, "chunks count with their own sizes"
        assert sent["response_bytes"].iloc[2] == 3_000_000


def test_what_cannot_be_read_passes_in_order_and_is_a_row_of_its_connection(lab: Lab) -> None:
    before = len(told(lab))
    assert clients.run(lab, CLIENT, PIPELINE, "server") == {"answers": 3, "enough": True}
    found = told(lab)[before:]
    assert sorted(found["reporter"]) == ["destination", "source"]
    assert set(found["kind"]) == {"connection"}
    assert set(found["verdict"]) == {"allowed"}
    assert set(found["destination_pod"]) == {"server-1"}
    assert set(found["source_principal"].dropna()) == {"spiffe://cluster.local/ns/mesh/sa/client"}
    assert (found["response_bytes"] > 200_024).all()


def test_where_nobody_listens_the_connection_fails_and_says_so(lab: Lab) -> None:
    before = len(told(lab))
    answer = clients.run(lab, CLIENT, DEAD, "server")
    assert answer["came"] in ("ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected"), answer
    found = told(lab)[before:]
    assert set(found["kind"]) == {"connection"}
    assert set(found["verdict"]) == {"failed"}, found.dropna(axis="columns", how="all").T.to_string()
    assert "upstream_connect_failed" in set(found["reason"])


def test_killed_agents_are_missed_by_no_request_and_no_row(lab: Lab) -> None:
    before = agent_pids(lab)
    with Load(lab, CLIENT, "http://server/agent", rate=101.0, duration_s=8.0) as load:
        time.sleep(2)
        for pid in before:
            kill(pid)
    assert load.summary["failed"] == 0, load.summary
    assert set(agent_pids(lab)).isdisjoint(before)
    lab.wait()
    found = rows_of(lab, "/agent")
    assert len(found) == 2 * load.summary["sent"]
    assert found["source_principal"].notna().all()


@pytest.mark.parametrize("rule", [FROM_CLIENT, "{to: [{operation: {paths: [/kept]}}]}"], ids=["layer-4", "layer-7"])
def test_a_new_denial_holds_on_connections_that_are_kept_alive(lab: Lab, rule: str) -> None:
    policy = POLICY % ("DENY", rule)
    with Load(lab, CLIENT, "http://server/kept", rate=50.0, duration_s=6.0) as load:
        time.sleep(2)
        lab.apply(policy)
        lab.wait()
        obeyed = pd.Timestamp.now(tz="UTC")
    try:
        after = load.frame[load.frame["sent"] > obeyed]
        assert len(after) > 50
        assert set(after["status"]) == {403}
        denied = rows_of(lab, "/kept")
        denied = denied[(denied["reporter"] == "destination") & (denied["verdict"] == "denied")]
        assert {(row.policy, row.rule, row.reason) for row in denied.itertuples()} == {
            ("mesh/policy", 0, "policy_deny")
        }
        assert clients.run(lab, "mesh/other", clients.HTTP, "http://server/allowed")["status"] == 200
    finally:
        lab.delete(policy)
        lab.wait()
    again = lab.traffic(CLIENT, "http://server/again", rate=50.0, duration_s=1.0)
    assert again.summary["failed"] == 0
    assert set(rows_of(lab, "/again")["observer"]) == {"ebpf"}


def test_a_policy_of_layer_4_lets_through_by_identity_and_the_row_names_the_rule(lab: Lab) -> None:
    policy = POLICY % ("ALLOW", FROM_CLIENT)
    lab.apply(policy)
    lab.wait()
    try:
        assert clients.run(lab, CLIENT, clients.HTTP, "http://server/mine")["status"] == 200
        assert clients.run(lab, "mesh/other", clients.HTTP, "http://server/theirs")["status"] == 403
        mine, theirs = rows_of(lab, "/mine"), rows_of(lab, "/theirs")
        assert set(mine["observer"]) == {"ebpf"}
        there = mine[mine["reporter"] == "destination"]
        assert {(row.policy, row.rule, row.reason) for row in there.itertuples()} == {
            ("mesh/policy", 0, "policy_allow")
        }
        assert set(theirs["observer"]) == {"envoy"}
    finally:
        lab.delete(policy)
        lab.wait()


def test_a_route_takes_a_service_to_the_proxy_and_its_end_brings_it_back(lab: Lab) -> None:
    seen = []
    for number, change in enumerate((None, lab.apply, lab.delete)):
        if change is not None:
            change(ROUTE)
            lab.wait()
        clients.run(lab, CLIENT, clients.HTTP, f"http://server/way-{number}")
        seen.append(set(rows_of(lab, f"/way-{number}")["observer"]))
    assert seen == [{"ebpf"}, {"envoy"}, {"ebpf"}]


def test_a_route_is_obeyed_on_kept_connections_and_no_request_fails(lab: Lab) -> None:
    with Load(lab, CLIENT, "http://server/rerouted", rate=50.0, duration_s=7.0) as load:
        time.sleep(2)
        lab.apply(ROUTE)
        lab.wait()
        obeyed = pd.Timestamp.now(tz="UTC") + pd.Timedelta("0.5s")
        time.sleep(2)
        lab.delete(ROUTE)
        lab.wait()
    assert load.summary["failed"] == 0, load.summary
    found = rows_of(lab, "/rerouted")
    assert set(found["observer"]) == {"ebpf", "envoy"}
    meanwhile = found[(found["time"] > obeyed) & (found["time"] < obeyed + pd.Timedelta("1s"))]
    assert set(meanwhile["observer"]) == {"envoy"}
    assert len(found) == 2 * load.summary["sent"]
