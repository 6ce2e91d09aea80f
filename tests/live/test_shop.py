"""The contracts of issue 3 on a live lab: real namespaces, real Envoys, real requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from meshlab import Lab
from meshlab.errors import InvalidDocuments, NotFound
from meshlab.kit.layout import Layout

GET = "import urllib.request,sys; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


def call(lab: Lab, source: str, url: str) -> dict[str, object]:
    done = lab.exec(source, ["python3", "-c", GET, url], namespace="shop")
    assert done.exit_code == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


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
    assert set(rows["source_principal"].dropna()) >= {"spiffe://cluster.local/ns/shop/sa/reviews-v1"} or set(
        rows["source_principal"].dropna()
    ) >= {"spiffe://cluster.local/ns/shop/sa/reviews"}


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


def _pid_of(lab: Lab, marker: str) -> int:
    """The daemon of this lab whose command line has the marker."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if marker in words and lab.settings.name in words:
            return int(process.pid)
    raise AssertionError(f"no {marker} of {lab.settings.name}")


def test_a_killed_control_plane_fails_no_request_and_comes_back(shop: Lab) -> None:
    summary: dict[str, object] = {}

    def load() -> None:
        summary.update(
            shop.traffic("reviews-v1", "http://ratings/", namespace="shop", rate=200.0, duration_s=6.0).summary
        )

    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(2)
    pid = _pid_of(shop, "meshlab.daemons.controlplane")
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert summary["failed"] == 0, summary
    assert _pid_of(shop, "meshlab.daemons.controlplane") != pid
    shop.apply("sample:shop-policy")
    shop.wait()
    done = shop.traffic("stranger", "http://ratings/", namespace="shop", rate=10.0, duration_s=1.0)
    assert set(done.summary["status"]) == {"403"}
    shop.delete("sample:shop-policy")
    shop.wait()


def test_a_rolling_replacement_under_load_fails_no_request(shop: Lab) -> None:
    [manifest] = [m for m in shop.manifests("deployments", namespace="shop") if m["metadata"]["name"] == "reviews-v2"]
    manifest = json.loads(json.dumps(manifest))
    before = {pod.uid for pod in shop.pods() if pod.workload == "reviews-v2"}
    summary: dict[str, object] = {}

    def load() -> None:
        summary.update(
            shop.traffic("catalog", "http://reviews-v2/", namespace="shop", rate=100.0, duration_s=8.0).summary
        )

    thread = threading.Thread(target=load)
    thread.start()
    time.sleep(1)
    manifest["spec"]["template"]["metadata"].setdefault("annotations", {})["rolled"] = "yes"
    shop.apply(manifest)
    shop.wait()
    thread.join()
    assert summary["failed"] == 0, summary
    assert before.isdisjoint({pod.uid for pod in shop.pods() if pod.workload == "reviews-v2"})


def test_down_leaves_nothing_after_everything_was_killed() -> None:
    lab = Lab(f"k{os.getpid() % 100000}", nodes=1).up()
    name = lab.settings.name
    lab.apply("sample:shop")
    for marker in ("meshlab.daemons.cluster", "meshlab.daemons.controlplane"):
        os.kill(_pid_of(lab, marker), signal.SIGKILL)
    lab.down()
    lab.down()
    assert not Layout.of(name).root.exists()
    assert f"ml-{name}-" not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert name not in Path("/proc/mounts").read_text().split("/")
    for process in psutil.process_iter(["cmdline"]):
        assert name not in (process.info["cmdline"] or [])


def test_a_call_to_a_pod_by_its_address_is_mtls(shop: Lab) -> None:
    [address] = [pod.ip for pod in shop.pods() if pod.pod.name == "ratings-1"]
    assert call(shop, "reviews-v1", f"http://{address}:8080/direct")["name"] == "ratings"
    flows = shop.flows()
    rows = flows[(flows["path"] == "/direct") & (flows["reporter"] == "destination")]
    assert len(rows) == 1
    assert rows["mtls"].all()


def test_no_plaintext_on_the_link_between_nodes(shop: Lab, tmp_path: Path) -> None:
    captured = tmp_path / "link.pcap"
    fabric = f"ml-{shop.settings.name}-fabric"
    command = ["ip", "netns", "exec", fabric, "tcpdump", "-i", "node-1", "-U", "-w", str(captured), "tcp"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as capture:
        time.sleep(1)
        sent = shop.traffic(
            "reviews-v1", "http://ratings/known-bytes-4711", namespace="shop", rate=50.0, duration_s=2.0
        )
        time.sleep(1)
        capture.terminate()
    assert sent.summary["failed"] == 0
    raw = captured.read_bytes()
    assert len(raw) > 20_000, "the link carried this traffic"
    assert b"known-bytes-4711" not in raw
