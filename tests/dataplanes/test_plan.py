"""What a sidecar pod gets: the bootstrap, the rules, the companion."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from meshlab.compile.xds import names
from meshlab.dataplanes.sidecar import SidecarPlane, bootstrap, interception, plane
from meshlab.kit.layout import Layout
from meshlab.model.world import Endpoint, PodId

ENDPOINT = Endpoint(PodId("shop", "web-1"), "u", "10.129.0.2", "node-1", "web", "web")


def test_bootstrap_names_the_pod_and_shows_the_token() -> None:
    made = json.loads(bootstrap.bootstrap(ENDPOINT, "/x/ads.sock", "t"))
    assert made["node"]["id"] == "sidecar~10.129.0.2~web-1.shop~shop"
    assert made["node"]["cluster"] == "web.shop"
    services = made["dynamic_resources"]["ads_config"]["grpc_services"][0]
    assert services["initial_metadata"] == [{"key": "authorization", "value": "Bearer t"}]
    assert made["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 15000}


def test_envoy_accepts_the_bootstrap(tmp_path: Path) -> None:
    path = tmp_path / "envoy.json"
    path.write_text(bootstrap.bootstrap(ENDPOINT, str(tmp_path / "ads.sock"), "t"))
    command = [str(plane.envoy_binary()), "--mode", "validate", "-c", str(path)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_rules_are_nftables() -> None:
    done = subprocess.run(
        ["nft", "-c", "-f", "-"], input=interception.rules().encode(), check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def test_plan_and_compiler_agree_on_ports(tmp_path: Path) -> None:
    companion = SidecarPlane(Layout("x", tmp_path), lambda _: "t").plan(ENDPOINT).companions[0]
    assert (companion.ready_port, companion.ready_path) == (names.HEALTH_PORT, names.HEALTH_PATH)
    assert companion.drain_port == names.ADMIN_PORT
    assert (interception.INBOUND_PORT, interception.OUTBOUND_PORT) == (names.INBOUND_PORT, names.OUTBOUND_PORT)
    assert names.INBOUND_SOURCE in interception.rules()
    assert "t" in companion.files["envoy.json"]
