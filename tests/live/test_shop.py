"""The contracts of the sidecar plane on a live lab: real namespaces, real Envoys, real requests."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from meshlab import Lab
from meshlab.dataplanes.envoy.counters import parse_stats, stats_command
from meshlab.errors import InvalidDocuments, NotFound
from tests.live.tools import Load, agent_pids, call, daemon_pid, ip_of, kill, proxy_pids, shop_as


@pytest.mark.parametrize("host", ["ratings", "ratings.shop", "ratings.shop.svc", "ratings.shop.svc.cluster.local"])
def test_a_service_answers_by_each_of_its_four_names(shop: Lab, host: str) -> None:
    assert "ratings" in str(call(shop, "reviews-v1", f"http://{host}/")["name"])


def test_counts_agree_on_both_sides_and_every_row_is_mtls(shop: Lab) -> None:
    result = shop.traffic("reviews-v1", "http://ratings/prime", namespace="shop", rate=100.0, duration_s=1.01)
    sent = result.summary["sent"]
    assert sent == 101
    assert result.summary["ok"] == sent
    flows = shop.flows()
    rows = flows[flows["path"] == "/prime"]
    assert (rows["reporter"] == "source").sum() == sent
    assert (rows["reporter"] == "destination").sum() == sent
    assert rows["mtls"].all()
    assert set(rows["source_principal"].dropna()) == {"spiffe://cluster.local/ns/shop/sa/reviews"}
    client = set(rows[rows["reporter"] == "source"]["source_pod"])
    [address] = [pod.ip for pod in shop.pods() if pod.pod.name in client]
    assert set(rows["source_ip"]) == {address}


def test_a_denied_call_names_policy_and_rule_and_delete_lifts_it(shop: Lab) -> None:
    shop.apply("sample:shop-policy")
    shop.wait()
    result = shop.traffic("stranger", "http://ratings/refused", namespace="shop", rate=20.0, duration_s=1.0)
    assert result.summary["status"] == {"403": 20}
    flows = shop.flows()
    rows = flows[(flows["path"] == "/refused") & (flows["reporter"] == "destination")]
    assert set(rows["verdict"]) == {"denied"}
    assert set(rows["source_principal"]) == {"spiffe://cluster.local/ns/shop/sa/stranger"}
    shop.delete("sample:shop-policy")
    shop.wait()
    assert shop.traffic("stranger", "http://ratings/", namespace="shop", rate=20.0, duration_s=1.0).summary["ok"] == 20


def test_bad_documents_change_nothing_and_name_every_field(shop: Lab) -> None:
    before = shop.status()["version"]
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {prots: [], selector: 3}\n"
    with pytest.raises(InvalidDocuments) as caught:
        shop.apply(text)
    assert "spec.prots" in str(caught.value)
    assert "ports" in str(caught.value)
    assert shop.status()["version"] == before
    with pytest.raises(NotFound):
        shop.exec("nobody", ["true"])


def test_a_call_to_a_pod_by_its_address_is_mtls(shop: Lab) -> None:
    [address] = [pod.ip for pod in shop.pods() if pod.pod.name == "ratings-1"]
    assert call(shop, "reviews-v1", f"http://{address}:8080/direct")["name"] == "ratings"
    flows = shop.flows()
    rows = flows[(flows["path"] == "/direct") & (flows["reporter"] == "destination")]
    assert len(rows) == 1
    assert rows["mtls"].all()


def test_the_application_sees_the_address_of_its_client(shop: Lab) -> None:
    address = ip_of(shop, "reviews-v1")
    assert call(shop, "reviews-v1", "http://ratings/")["client"] == address


def _counters(lab: Lab) -> dict[str, dict[str, int]]:
    """What each Envoy counted, by pod."""
    found = {}
    for pod in proxy_pids(lab):
        namespace, name = pod.split("/")
        done = lab.exec(name, stats_command("http.*rq_total|rq_completed"), namespace=namespace)
        found[pod] = parse_stats(done.stdout)
    return found


def test_rows_agree_with_what_each_envoy_counted(shop: Lab) -> None:
    before, sent = _counters(shop), 211
    result = shop.traffic("web", "http://catalog/counted", namespace="shop", rate=211.0, duration_s=1.0)
    assert result.summary["sent"] == result.summary["ok"] == sent
    flows = shop.flows()
    mine = flows[flows["trace_id"].isin(result.frame["trace_id"])]
    assert (mine["destination_workload"] == "catalog").sum() == 2 * sent
    for pod, counted in _counters(shop).items():
        name = pod.split("/")[1]
        for direction, reporter, side in (("inbound", "destination", "destination"), ("outbound", "source", "source")):
            key = f"http.{direction}.downstream_rq_total"
            rows = mine[(mine["reporter"] == reporter) & (mine[f"{side}_pod"] == name)]["count"].sum()
            assert counted.get(key, 0) - before[pod].get(key, 0) == rows, (pod, key)
    proxies = shop.proxies()
    assert (proxies["rows_dropped"] == 0).all()
    assert (proxies["rows_written"] <= proxies["rows_received"]).all()


def _lost(lab: Lab, workload: str) -> int:
    """Flow rows that the proxy of a workload wrote and nobody received."""
    proxies = lab.proxies().set_index("pod")
    [pod] = [pod.pod.name for pod in lab.pods() if pod.workload == workload]
    return int(proxies.loc[pod, "rows_written"] - proxies.loc[pod, "rows_received"])


def test_a_killed_control_plane_fails_no_request_loses_no_row_silently_and_comes_back(shop: Lab) -> None:
    shop.flows()
    pid, lost_before = daemon_pid(shop, "meshlab.daemons.controlplane"), _lost(shop, "reviews-v1")
    with Load(shop, "reviews-v1", "http://ratings/killed", namespace="shop", rate=200.0, duration_s=6.0) as load:
        time.sleep(2)
        kill(pid)
    assert load.summary["failed"] == 0, load.summary
    assert daemon_pid(shop, "meshlab.daemons.controlplane") != pid
    shop.apply("sample:shop-policy")
    shop.wait()
    done = shop.traffic("stranger", "http://ratings/", namespace="shop", rate=10.0, duration_s=1.0)
    assert set(done.summary["status"]) == {"403"}
    shop.delete("sample:shop-policy")
    shop.wait()
    flows = shop.flows()
    rows = flows[(flows["path"] == "/killed") & (flows["reporter"] == "source")]
    # Envoy does not keep what it sends while nobody listens; what is lost that way is counted and shown.
    assert 0 < len(rows) < load.summary["sent"]
    assert load.summary["sent"] - len(rows) == _lost(shop, "reviews-v1") - lost_before


def test_a_rolling_replacement_under_load_fails_no_request(shop: Lab) -> None:
    [manifest] = [m for m in shop.manifests("deployments", namespace="shop") if m["metadata"]["name"] == "reviews-v2"]
    manifest = json.loads(json.dumps(manifest))
    before = {pod.uid for pod in shop.pods() if pod.workload == "reviews-v2"}
    with Load(shop, "catalog", "http://reviews-v2/", namespace="shop", rate=100.0, duration_s=8.0) as load:
        time.sleep(1)
        manifest["spec"]["template"]["metadata"].setdefault("annotations", {})["rolled"] = "yes"
        shop.apply(manifest)
        shop.wait()
    assert load.summary["failed"] == 0, load.summary
    assert before.isdisjoint({pod.uid for pod in shop.pods() if pod.workload == "reviews-v2"})


@pytest.mark.parametrize("mode", ["sidecar", "sidecarless"])
def test_no_plaintext_on_the_link_in_a_whole_life(lab_name: Callable[[], str], tmp_path: Path, mode: str) -> None:
    """Captured from before the first pod: start-up, a restart of every proxy and of the control plane, an end."""
    captured, secret = tmp_path / "link.pcap", "known-bytes-4711"
    with Lab(lab_name(), nodes=2) as lab:
        command = ["ip", "netns", "exec", f"ml-{lab.settings.name}-fabric", "tcpdump", "-i", "node-1", "-U", "-w"]
        with (
            subprocess.Popen([*command, str(captured), "ip"], stderr=subprocess.PIPE) as capture,
            contextlib.ExitStack() as ended,
        ):
            assert capture.stderr is not None
            ended.callback(capture.terminate)
            assert b"listening" in capture.stderr.readline()
            lab.apply(shop_as(mode))
            lab.wait(timeout_s=120)
            with Load(lab, "web", f"http://catalog/{secret}", namespace="shop", rate=100.0, duration_s=8.0) as load:
                time.sleep(1)
                for pid in (*proxy_pids(lab).values(), *agent_pids(lab)):
                    kill(pid)
                    time.sleep(0.5)
                kill(daemon_pid(lab, "meshlab.daemons.controlplane"))
            lab.wait(timeout_s=60)
            last = lab.traffic("web", f"http://catalog/{secret}", namespace="shop", rate=50.0, duration_s=1.0)
            lab.remove("namespace", "shop")
            lab.wait()
    assert load.summary["ok"] > load.summary["sent"] / 4, "requests went on between the restarts"
    assert last.summary["failed"] == 0
    raw = captured.read_bytes()
    assert len(raw) > 100_000, "the link carried this traffic"
    assert secret.encode() not in raw
    assert b"HTTP/1.1" not in raw


def test_the_gateway_of_a_node_keeps_its_address_while_pods_come_and_go(shop: Lab) -> None:
    """A bridge left to itself takes the lowest address of its ports: pods then lose DNS and the other node."""

    def gateways() -> list[str]:
        command = "ip netns exec ml-{lab}-{node} cat /sys/class/net/pods/address"
        words = [command.format(lab=shop.settings.name, node=node).split() for node in ("node-1", "node-2")]
        return [subprocess.run(one, capture_output=True, text=True, check=True).stdout for one in words]

    before = gateways()
    [manifest] = [m for m in shop.manifests("deployments", namespace="shop") if m["metadata"]["name"] == "stranger"]
    manifest = json.loads(json.dumps(manifest))
    for replicas in (6, 1):
        manifest["spec"]["replicas"] = replicas
        shop.apply(manifest)
        shop.wait()
        assert gateways() == before
