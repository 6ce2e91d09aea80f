"""The node's agent on a real kernel: plans in names, pods that come and go, batches of rows."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlab.dataplanes.sidecarless import flows
from meshlab.dataplanes.sidecarless.agent import NodeAgent
from meshlab.dataplanes.sidecarless.names import Names
from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.errors import MeshlabError
from meshlab.model.kernel import KernelBackend, KernelPlan, KernelRule, KernelService, KernelWorkload
from meshlab.telemetry.events import FlowEvent
from tests.bpf.conftest import eventually, nothing_left
from tests.bpf.topology import Bench

VIP = "10.96.0.10"
IDS = {pod: f"spiffe://cluster.local/ns/mesh/sa/{pod}" for pod in "abc"}
OTHERS = KernelRule("proxy", "ok")


def plan(bench: Bench, *rules: KernelRule, pods: str = "abc") -> KernelPlan:
    """Pods of these names; `rules` are b's."""
    workloads = tuple(
        KernelWorkload(bench.ip(pod), f"mesh/{pod}-1", IDS[pod], "sidecarless", f"uid-{pod}", bench.netns(pod),
                       (OTHERS, *rules) if pod == "b" else (OTHERS,))
        for pod in pods
    )  # fmt: skip
    service = KernelService("mesh/b", VIP, 80, False, (KernelBackend(bench.ip("b"), 8080),))
    return KernelPlan("node-1", workloads, (service,))


@pytest.fixture
def kernel(bench: Bench) -> Iterator[KernelNode]:
    """Loaded and attached; nobody is known yet."""
    opened = KernelNode.open(bench.lab, "node-1")
    ids = opened.ids()
    try:
        opened.attach(pods=bench.pods_group, proxy=bench.proxy_group)
        yield opened
    finally:
        bench.stop()
        opened.remove()
    nothing_left(bench.lab, ids)


@pytest.fixture
def agent(kernel: KernelNode, bench: Bench, tmp_path: Path) -> NodeAgent:
    return NodeAgent(kernel, Names(tmp_path / "names.json"), tmp_path / "ready", bench.netns("node"))


def rows(agent: NodeAgent, bench: Bench) -> list[FlowEvent]:
    peers = {
        bench.ip(pod): {"namespace": "mesh", "pod": f"{pod}-1", "workload": pod, "services": [pod]} for pod in "abc"
    }
    found = agent.look()
    if found is None:
        return []
    agent.taken(found, found.end)
    return list(flows.decode(found.payload, "node-1", peers))


def test_a_plan_in_names_is_obeyed_and_its_rows_have_the_names(agent: NodeAgent, bench: Bench, tmp_path: Path) -> None:
    bench.serve("b")
    allow = KernelRule("allow", "policy_allow", 8080, IDS["a"], "mesh/readers", 2)
    deny = KernelRule("deny", "policy_deny", 8080, IDS["c"], "mesh/no-c", 0)
    agent.apply(plan(bench, allow, deny).resources())
    assert {path.name for path in (tmp_path / "ready").iterdir()} == {"uid-a", "uid-b", "uid-c"}
    assert bench.ask("a", VIP, 80) == "b"
    assert bench.ask("c", VIP, 80) == "ECONNREFUSED"
    found: list[FlowEvent] = []
    eventually(lambda: bool(found.extend(rows(agent, bench))) or len(found) == 4, f"{found}")
    told = {(row.source_pod, row.reporter): row for row in found}
    assert set(told) == {(pod, side) for pod in ("a-1", "c-1") for side in ("source", "destination")}
    let_in, refused = told["a-1", "destination"], told["c-1", "destination"]
    assert (let_in.verdict, let_in.reason, let_in.policy, let_in.rule) == ("allowed", "policy_allow", "mesh/readers", 2)
    assert (refused.verdict, refused.reason, refused.policy, refused.rule) == ("denied", "policy_deny", "mesh/no-c", 0)
    for row in (let_in, refused):
        assert (row.observer, row.plane, row.node, row.mtls) == ("ebpf", "sidecarless", "node-1", False)
        assert (row.destination_service, row.destination_workload, row.destination_port) == ("mesh/b", "b", 8080)
    assert let_in.source_principal == IDS["a"]
    assert let_in.request_bytes == 0
    assert (let_in.response_bytes or 0) > 0


def test_what_is_not_in_the_next_plan_is_forgotten(
    agent: NodeAgent, kernel: KernelNode, bench: Bench, tmp_path: Path
) -> None:
    agent.apply(plan(bench).resources())
    agent.apply(plan(bench, pods="ab").resources())
    assert set(kernel.pods()) == {bench.ip("a"), bench.ip("b")}
    assert {path.name for path in (tmp_path / "ready").iterdir()} == {"uid-a", "uid-b"}


def test_a_pod_whose_namespace_is_gone_stops_no_other(agent: NodeAgent, kernel: KernelNode, bench: Bench) -> None:
    good = plan(bench)
    gone = dataclasses.replace(good.workloads[2], netns="/run/netns/gone")
    agent.apply(dataclasses.replace(good, workloads=(*good.workloads[:2], gone)).resources())
    assert set(kernel.pods()) == {bench.ip("a"), bench.ip("b")}


@pytest.mark.parametrize("bad", ["garbage", json.dumps({"rules": [{"verdict": "perhaps", "reason": "ok"}]})])
def test_a_plan_that_cannot_be_read_changes_nothing(
    agent: NodeAgent, kernel: KernelNode, bench: Bench, bad: str
) -> None:
    bench.serve("b")
    good = plan(bench, KernelRule("allow", "ok", 8080, IDS["a"])).resources()
    agent.apply(good)
    before = kernel.generation
    with pytest.raises((ValueError, KeyError, MeshlabError)):
        agent.apply({**good, f"workload/{bench.ip('c')}": bad})
    assert kernel.generation == before
    assert bench.ask("a", VIP, 80) == "b"


HELD = """
sock = socket.create_connection((sys.argv[1], 80)); line(sock); print("held", flush=True)
try: print(repr(sock.recv(1)), flush=True)
except OSError as error: print(errno.errorcode[error.errno], flush=True)
"""


def test_a_connection_that_a_new_plan_denies_is_reset(agent: NodeAgent, bench: Bench) -> None:
    from tests.bpf.topology import PRELUDE

    bench.serve("b")
    allow = KernelRule("allow", "ok", 8080, IDS["a"])
    agent.apply(plan(bench, allow).resources())
    command = bench.command("a", ["python3", "-I", "-c", PRELUDE + HELD, VIP])
    holding = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holding.stdout is not None
    bench.children.append(holding)
    assert holding.stdout.readline() == "held\n"
    agent.apply(plan(bench, dataclasses.replace(allow, verdict="deny", reason="policy_deny")).resources())
    assert holding.stdout.readline() in ("ECONNABORTED\n", "ECONNRESET\n")


def test_an_heir_takes_the_pods_over_with_their_numbers(
    agent: NodeAgent, kernel: KernelNode, bench: Bench, tmp_path: Path
) -> None:
    agent.apply(plan(bench).resources())
    before = kernel.pods()
    heir = NodeAgent(kernel, Names(tmp_path / "names.json"), tmp_path / "ready", bench.netns("node"))
    heir.apply(plan(bench).resources())
    assert kernel.pods() == before


def test_events_that_nobody_has_taken_are_told_again_by_an_heir(
    agent: NodeAgent, kernel: KernelNode, bench: Bench, tmp_path: Path
) -> None:
    bench.serve("b")
    agent.apply(plan(bench, KernelRule("allow", "ok", 8080, IDS["a"])).resources())
    assert bench.ask("a", VIP, 80) == "b"
    first = agent.look()
    assert first is not None
    heir = NodeAgent(kernel, Names(tmp_path / "names.json"), tmp_path / "ready", bench.netns("node"))
    again = heir.look()
    assert again is not None
    assert (again.ring, again.start) == (first.ring, first.start)
    heir.taken(again, again.end)
    assert heir.look() is None
    assert heir.written == again.rows
