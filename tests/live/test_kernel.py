"""The kernel plane in a lab of one node: what it carries, what it refuses, who may die meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pandas as pd
import pytest

from meshlab import Lab
from meshlab.kit import cgroups
from tests.live import clients
from tests.live.documents import namespace, text, workload
from tests.live.tools import Load, kill, left_of, proxy_pids

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
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: server, namespace: mesh}
spec:
  parentRefs: [{kind: Service, group: "", name: server, port: 80}]
  rules: [{backendRefs: [{name: server, port: 80}]}]
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


def agent_pid(lab: Lab) -> int:
    return cgroups.pids(cgroups.node_group(lab.settings.name, "node-1") / "agent")[0]


def counters(lab: Lab) -> dict[str, int]:
    """The kernel's own."""
    found = lab.counters().set_index("counter")["value"].filter(like="kernel.")
    return {str(name).removeprefix("kernel."): int(value) for name, value in found.items()}


def rows(lab: Lab, path: str) -> pd.DataFrame:
    found = lab.flows()
    return found[found["path"] == path]


def test_a_prime_number_of_requests_is_that_many_rows_of_each_end(lab: Lab) -> None:
    done = lab.traffic(CLIENT, "http://server/counted", rate=337.0, duration_s=3.0)
    assert done.summary["ok"] == done.summary["sent"] == 1011
    found = rows(lab, "/counted")
    assert dict(found["reporter"].value_counts()) == {"source": 1011, "destination": 1011}
    assert set(found["trace_id"]) == set(done.frame["trace_id"])
    one = {
        name: set(found[name]) for name in ("observer", "plane", "verdict", "status", "method", "protocol", "authority")
    }
    assert one == {
        "observer": {"ebpf"}, "plane": {"sidecarless"}, "verdict": {"allowed"}, "status": {200}, "method": {"GET"},
        "protocol": {"http1"}, "authority": {"server"},
    }  # fmt: skip
    assert set(found["source_principal"]) == {"spiffe://cluster.local/ns/mesh/sa/client"}
    assert set(found["destination_principal"]) == {"spiffe://cluster.local/ns/mesh/sa/server"}
    assert set(found["destination_service"]) == {"mesh/server"}
    assert (found["latency_ms"] > 0).all()
    assert found["config_version"].notna().all()
    proxies = lab.proxies()
    assert (proxies["rows_written"] == proxies["rows_received"]).all()


def test_a_killed_agent_is_missed_by_no_request_and_no_row(lab: Lab) -> None:
    before = agent_pid(lab)
    with Load(lab, CLIENT, "http://server/agent", rate=101.0, duration_s=8.0) as load:
        time.sleep(2)
        kill(before)
    assert load.summary["failed"] == 0, load.summary
    assert agent_pid(lab) != before
    lab.wait()
    assert len(rows(lab, "/agent")) == 2 * load.summary["sent"]


def test_a_killed_node_proxy_is_missed_by_no_request_that_the_kernel_carries(lab: Lab) -> None:
    with Load(lab, CLIENT, "http://server/proxy", rate=101.0, duration_s=4.0) as load:
        time.sleep(1)
        kill(proxy_pids(lab)["/node-1"])
    assert load.summary["failed"] == 0, load.summary
    assert len(rows(lab, "/proxy")) == 2 * load.summary["sent"]
    lab.wait()


@pytest.mark.parametrize("rule", [FROM_CLIENT, "{to: [{operation: {paths: [/kept]}}]}"], ids=["layer-4", "layer-7"])
def test_a_new_denial_holds_on_connections_that_are_kept_alive(lab: Lab, rule: str) -> None:
    policy = POLICY.format(name="denied", action="DENY", rule=rule)
    with Load(lab, CLIENT, "http://server/kept", rate=50.0, duration_s=6.0) as load:
        time.sleep(2)
        lab.apply(policy)
        lab.wait()
        obeyed = pd.Timestamp.now(tz="UTC")
    try:
        after = load.frame[load.frame["sent"] > obeyed]
        assert len(after) > 50
        assert set(after["status"]) == {403}
        denied = rows(lab, "/kept")
        denied = denied[(denied["reporter"] == "destination") & (denied["verdict"] == "denied")]
        assert {(row.policy, row.rule, row.reason) for row in denied.itertuples()} == {
            ("mesh/denied", 0, "policy_deny")
        }
        assert clients.run(lab, "mesh/other", clients.HTTP, "http://server/allowed")["status"] == 200
    finally:
        lab.delete(policy)
        lab.wait()
    again = lab.traffic(CLIENT, "http://server/again", rate=50.0, duration_s=1.0)
    assert again.summary["failed"] == 0
    assert set(rows(lab, "/again")["observer"]) == {"ebpf"}


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


def test_a_route_takes_a_service_to_the_proxy_and_its_end_brings_it_back(lab: Lab) -> None:
    seen = []
    for number, change in enumerate((None, lab.apply, lab.delete)):
        if change is not None:
            change(ROUTE)
            lab.wait()
        clients.run(lab, CLIENT, clients.HTTP, f"http://server/way-{number}")
        seen.append(set(rows(lab, f"/way-{number}")["observer"]))
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
    found = rows(lab, "/rerouted")
    assert set(found["observer"]) == {"ebpf", "envoy"}
    meanwhile = found[(found["time"] > obeyed) & (found["time"] < obeyed + pd.Timedelta("1s"))]
    assert set(meanwhile["observer"]) == {"envoy"}
    assert len(found) == 2 * load.summary["sent"]


def test_a_storm_of_connections_leaves_nothing_in_the_maps(lab: Lab) -> None:
    for _ in range(4):
        clients.run(lab, CLIENT, STORM, "server", 101)
    deadline = time.monotonic() + 10
    while (found := counters(lab))["flows"] != found["flows_ended"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    lost = {name: found[name] for name in found if name.endswith("lost")}
    assert set(lost.values()) == {0}, lost
