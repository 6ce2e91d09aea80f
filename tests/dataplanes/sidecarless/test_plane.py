"""What a node gets for its sidecarless pods, and what each of them gets."""

from __future__ import annotations

import json
from pathlib import Path

from meshlab.dataplanes.envoy import interception
from meshlab.dataplanes.sidecarless import SidecarlessPlane
from meshlab.model import wire
from meshlab.model.world import Endpoint, PodId

WEB = Endpoint(PodId("shop", "web-1"), "u", "10.129.0.2", "node-1", "web", "web")


def test_a_node_gets_one_envoy_with_the_nodes_token(tmp_path: Path) -> None:
    [companion] = SidecarlessPlane(tmp_path / "ads.sock", lambda node: f"token-of-{node}").node("node-1")
    made = json.loads(companion.files["envoy.json"])
    assert made["node"] == {"id": "node~node-1", "cluster": "node-1"}
    assert "token-of-node-1" in companion.files["envoy.json"]
    assert companion.uid == wire.PROXY_UID
    assert "sys_admin" in companion.capabilities, "its sockets lie in the pods' namespaces"


def test_a_pod_gets_rules_and_waits_for_the_nodes_envoy(tmp_path: Path) -> None:
    plan = SidecarlessPlane(tmp_path / "ads.sock", lambda _: "t").plan(WEB)
    assert plan.companions == ()
    assert (plan.rules, plan.local_mark) == (interception.rules(), wire.INBOUND_MARK)
    assert (plan.gate_port, plan.gate_path) == (wire.HEALTH_PORT, "/healthz/ready")
