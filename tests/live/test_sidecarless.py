"""One Envoy per node: what is the sidecarless plane's own, live (`contracts/test_planes.py` has the rest)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from meshlab import Lab
from tests.live.tools import Load, call, daemon_pid, ip_of, kill, left_of, proxy_pids, shop_as


@pytest.fixture(scope="module")
def shop() -> Iterator[Lab]:
    name = f"s{os.getpid() % 100000}"
    with Lab(name, nodes=2) as lab:
        lab.apply(shop_as("sidecarless"))
        lab.wait(timeout_s=120)
        yield lab
    assert left_of(name) == []


def test_there_is_one_proxy_a_node_and_none_in_a_pod(shop: Lab) -> None:
    assert set(proxy_pids(shop)) == {"/node-1", "/node-2"}
    proxies = shop.proxies()
    assert list(proxies["pod"]) == ["node-1", "node-1/agent", "node-2", "node-2/agent"]
    assert proxies["synced"].all()
    parts = shop.resources()
    assert set(parts[parts["part"] == "node-proxy"]["node"]) == {"node-1", "node-2"}
    assert "proxy" not in set(parts["part"])


def test_counts_agree_and_rows_name_the_plane_and_the_pods(shop: Lab) -> None:
    result = shop.traffic("web", "http://catalog/", namespace="shop", rate=101.0, duration_s=1.0)
    assert result.summary["ok"] == result.summary["sent"] == 101
    flows = shop.flows()
    mine = flows[flows["trace_id"].isin(result.frame["trace_id"]) & (flows["destination_workload"] == "catalog")]
    assert sorted(mine["reporter"]) == ["destination"] * 101 + ["source"] * 101
    assert set(mine["plane"]) == {"sidecarless"}
    assert mine["mtls"].all()
    assert set(mine["source_pod"]) == {"web-1"}
    assert set(mine["source_principal"].dropna()) == {"spiffe://cluster.local/ns/shop/sa/web"}
    assert mine["config_version"].notna().all()
    proxies = shop.proxies()
    assert (proxies["rows_written"] == proxies["rows_received"]).all()


def test_a_denied_call_names_policy_and_rule(shop: Lab) -> None:
    shop.apply("sample:shop-policy")
    shop.wait()
    refused = shop.traffic("web", "http://ratings/refused", namespace="shop", rate=20.0, duration_s=1.0)
    assert refused.summary["status"] == {"403": 20}
    assert call(shop, "reviews-v1", "http://ratings/")["name"] == "ratings"
    flows = shop.flows()
    rows = flows[(flows["path"] == "/refused") & (flows["reporter"] == "destination")]
    assert set(rows["reason"]) == {"no_allow_match"}
    shop.delete("sample:shop-policy")
    shop.wait()


def test_a_killed_node_proxy_lets_nothing_pass_and_comes_back(shop: Lab) -> None:
    before = proxy_pids(shop)
    address = ip_of(shop, "catalog")
    for pid in before.values():
        kill(pid)
    # Straight to the pod's address, where plaintext would be answered: only once the proxies are back, by mutual TLS.
    deadline = time.monotonic() + 30
    while True:
        done = shop.exec("web", ["bash", "-c", f"exec 3<>/dev/tcp/{address}/8080; {ASK}"], namespace="shop")
        if b"200 OK" in done.stdout:
            break
        assert time.monotonic() < deadline
    assert set(proxy_pids(shop).values()).isdisjoint(before.values())
    shop.wait()
    flows = shop.flows()
    rows = flows[(flows["path"] == "/after-the-kill") & (flows["reporter"] == "destination")]
    assert rows["mtls"].all()
    assert len(rows[rows["status"] == 200]) == 1
    sent = shop.traffic("web", "http://catalog/", namespace="shop", rate=50.0, duration_s=1.0).summary
    assert sent["failed"] == 0, sent


ASK = "printf 'GET /after-the-kill HTTP/1.1\\r\\nHost: catalog\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -1 <&3"


def test_a_new_cluster_daemon_takes_over_the_nodes_proxies(shop: Lab) -> None:
    before = proxy_pids(shop)
    kill(daemon_pid(shop, "meshlab.daemons.cluster"))
    shop.up()
    shop.wait()
    assert proxy_pids(shop) == before


def test_the_plane_of_a_workload_is_switched_under_load_without_a_failed_request(shop: Lab) -> None:
    [manifest] = [m for m in shop.manifests("deployments", namespace="shop") if m["metadata"]["name"] == "ratings"]
    manifest = json.loads(json.dumps(manifest))
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    with Load(shop, "reviews-v1", "http://ratings/switched", namespace="shop", rate=50.0, duration_s=14.0) as load:
        for mode in ("sidecar", "sidecarless"):
            time.sleep(1)
            labels["meshlab.io/mode"] = mode
            shop.apply(manifest)
            shop.wait()
    assert load.summary["failed"] == 0, load.summary
    flows = shop.flows()
    rows = flows[(flows["path"] == "/switched") & (flows["reporter"] == "destination")]
    assert set(rows["plane"]) == {"sidecar", "sidecarless"}
    assert rows["mtls"].all()


def test_pods_that_come_later_are_served(shop: Lab) -> None:
    [manifest] = [m for m in shop.manifests("deployments", namespace="shop") if m["metadata"]["name"] == "catalog"]
    manifest = json.loads(json.dumps(manifest))
    manifest["spec"]["replicas"] = 5
    shop.apply(manifest)
    shop.wait()
    alone = (("Connection", "close"),)  # carried as they are, connections are what is balanced
    sent = shop.traffic(
        "web", "http://catalog/later", namespace="shop", rate=50.0, duration_s=1.0, headers=alone
    ).summary
    assert sent["failed"] == 0, sent
    flows = shop.flows()
    rows = flows[(flows["path"] == "/later") & (flows["reporter"] == "destination")]
    assert rows["destination_pod"].nunique() == 5
