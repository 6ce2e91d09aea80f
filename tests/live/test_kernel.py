"""The kernel plane in a lab of one node: what it refuses, what it is left with, who may die meanwhile (`test_read.py`
has what it reads)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from meshlab import Lab
from tests.live import clients
from tests.live.documents import namespace, text, workload
from tests.live.tools import Load, counters, kill, left_of, proxy_pids, rows_of

CLIENT = "mesh/client"
PORTS = [
    {"name": "http", "port": 80, "targetPort": 8080},
    {"name": "tcp-raw", "port": 9000, "targetPort": 9000},
]
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: mesh}}
spec: {{selector: {{matchLabels: {{app: server}}}}, action: {action}, rules: [{rule}]}}
"""
FROM_CLIENT = "{from: [{source: {serviceAccounts: [client]}}]}"
SEARCHED = (".mesh.svc.cluster.local", ".svc.cluster.local", ".cluster.local", "")
ASK = """
import socket, sys
for _ in range(int(sys.argv[2])):
    try:
        socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        pass
print("{}")
"""
STORM = """
import socket, sys
for _ in range(int(sys.argv[2])):
    socket.create_connection((sys.argv[1], 9000), timeout=10).close()
print("{}")
"""
REFUSED = """
import json, socket, sys
try:
    socket.create_connection((sys.argv[1], 9000), timeout=10)
    print(json.dumps({"came": "connected"}))
except OSError as error:
    print(json.dumps({"came": type(error).__name__}))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    name = f"k{os.getpid() % 100000}"
    documents = [
        namespace("mesh", "sidecarless"),
        *workload("client", []),
        *workload("other", []),
        *workload("server", PORTS, TCP_PORT="9000"),
    ]
    with Lab(name, nodes=1) as made:
        made.apply(text(documents))
        made.wait(timeout_s=120)
        yield made
    assert left_of(name) == []


def test_what_pods_ask_by_dns_is_a_row_with_its_answer(lab: Lab) -> None:
    before = counters(lab)
    clients.run(lab, CLIENT, ASK, "server", 23)
    clients.run(lab, CLIENT, ASK, "nobody.example", 1)
    found = lab.flows()
    found = found[(found["protocol"] == "dns") & (found["source_pod"] == "client-1")]
    known = found[found["authority"] == "server.mesh.svc.cluster.local"]
    assert len(known) == 23
    assert {name: set(known[name]) for name in ("method", "status", "kind", "reporter", "observer", "verdict")} == {
        "method": {"A"}, "status": {0}, "kind": {"request"}, "reporter": {"source"}, "observer": {"ebpf"},
        "verdict": {"allowed"},
    }  # fmt: skip
    assert set(known["source_principal"]) == {"spiffe://cluster.local/ns/mesh/sa/client"}
    assert set(known["destination_port"]) == {53}
    assert known["latency_ms"].between(0, 1000, inclusive="neither").all()
    unknown = found[found["authority"].str.startswith("nobody.example")]
    assert list(unknown["authority"]) == [f"nobody.example{end}" for end in SEARCHED]
    assert set(unknown["status"]) == {3}
    after = counters(lab)
    assert after["dns_asked"] - before["dns_asked"] == after["dns_answered"] - before["dns_answered"] == 23 + 4


def test_a_killed_node_proxy_is_missed_by_no_request_that_the_kernel_carries(lab: Lab) -> None:
    with Load(lab, CLIENT, "http://server/proxy", rate=101.0, duration_s=4.0) as load:
        time.sleep(1)
        kill(proxy_pids(lab)["/node-1"])
    assert load.summary["failed"] == 0, load.summary
    assert len(rows_of(lab, "/proxy")) == 2 * load.summary["sent"]
    lab.wait()


def test_a_raw_connection_is_refused_by_the_kernel_and_the_row_names_the_rule(lab: Lab) -> None:
    policy = POLICY.format(name="raw", action="DENY", rule=FROM_CLIENT)
    lab.apply(policy)
    lab.wait()
    try:
        assert clients.run(lab, CLIENT, REFUSED, "server") == {"came": "ConnectionRefusedError"}
        assert clients.run(lab, "mesh/other", REFUSED, "server") == {"came": "connected"}
        found = lab.flows()
        found = found[(found["policy"] == "mesh/raw") & (found["destination_port"] == 9000)]
        assert sorted(found["reporter"]) == ["destination", "source"]
        assert {(row.verdict, row.reason, row.rule, row.observer) for row in found.itertuples()} == {
            ("denied", "policy_deny", 0, "ebpf")
        }
        assert set(found["source_principal"]) == {"spiffe://cluster.local/ns/mesh/sa/client"}
    finally:
        lab.delete(policy)
        lab.wait()


def test_a_storm_of_connections_leaves_nothing_in_the_maps(lab: Lab) -> None:
    for _ in range(4):
        clients.run(lab, CLIENT, STORM, "server", 101)
    deadline = time.monotonic() + 10
    while (found := counters(lab))["flows"] != found["flows_ended"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    lost = {name: found[name] for name in found if name.endswith("lost")}
    assert set(lost.values()) == {0}, lost
