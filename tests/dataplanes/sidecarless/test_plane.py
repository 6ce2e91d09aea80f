"""What a node gets for its sidecarless pods, and what each of them gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshlab.dataplanes.sidecarless import SidecarlessPlane, headers
from meshlab.errors import CannotRun
from meshlab.kit import cgroups
from meshlab.kit.layout import Layout
from meshlab.model import wire
from meshlab.model.world import Endpoint, PodId

WEB = Endpoint(PodId("shop", "web-1"), "u-1", "10.129.0.2", "node-1", "web", "web")


@pytest.fixture
def plane(tmp_path: Path) -> SidecarlessPlane:
    return SidecarlessPlane(Layout("lab", tmp_path), lambda node: f"token-of-{node}", lambda node: f"agent-of-{node}")


def test_a_node_gets_an_agent_and_after_it_one_envoy_each_with_a_token_of_its_own(plane: SidecarlessPlane) -> None:
    agent, envoy = plane.node("node-1")
    assert agent.ready_file, "an Envoy that listens before the programs are attached is not found by them"
    told = json.loads(agent.files["agent.json"])
    assert (told["node"], told["token"], agent.uid) == ("node-1", "agent-of-node-1", 0)
    assert told["pods_group"] == str(cgroups.pods_group("lab", "node-1"))
    assert told["proxy_group"] == str(cgroups.node_group("lab", "node-1") / envoy.name)
    made = json.loads(envoy.files["envoy.json"])
    assert made["node"] == {"id": "node~node-1", "cluster": "node-1"}
    assert "token-of-node-1" in envoy.files["envoy.json"]
    assert envoy.uid == wire.PROXY_UID
    assert "sys_admin" in envoy.capabilities, "its sockets lie in the pods' namespaces"


def test_a_pod_gets_no_rules_and_waits_for_the_kernel_and_for_the_nodes_envoy(
    plane: SidecarlessPlane, tmp_path: Path
) -> None:
    plan = plane.plan(WEB)
    assert (plan.rules, plan.companions, plan.local_mark) == ("", (), wire.INBOUND_MARK)
    assert (plan.gate_port, plan.gate_path) == (wire.HEALTH_PORT, "/healthz/ready")
    assert plan.gate_file == tmp_path / "lab" / "nodes" / "node-1" / "agent" / "pods" / "u-1"


def test_what_a_machine_lacks_is_named_with_the_way_out_and_what_works(
    plane: SidecarlessPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "BINDINGS", tmp_path / "bcc")
    with pytest.raises(CannotRun, match=r"bcc[\s\S]*apt-get install python3-bpfcc[\s\S]*sidecar and none work"):
        plane.node("node-1")
