"""The short way from pod to pod: the same packets, past the node's bridge."""

from __future__ import annotations

import subprocess

from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import Plan
from tests.bpf.test_connect import ALL
from tests.bpf.topology import Bench

BRIDGED = """
table bridge seen {
 counter pods { }
 chain c {
  type filter hook forward priority 0;
  ip daddr 10.91.0.0/24 ip protocol tcp counter name pods
 }
}
"""
MANY = """
server = socket.create_connection((sys.argv[1], 8080))
print(sum(ask(sys.argv[1], 8080) == "b" for _ in range(50)))
"""


def bridged(bench: Bench) -> int:
    """TCP packets that the node's bridge has forwarded."""
    told = subprocess.run(
        ["ip", "netns", "exec", f"ml-{bench.lab}-node", "nft", "list", "counters"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(told.stdout.split("packets ")[1].split()[0])


def test_meshed_pods_of_a_node_meet_past_its_bridge_and_others_on_it(bench: Bench, node: KernelNode) -> None:
    inside = ["ip", "netns", "exec", f"ml-{bench.lab}-node", "nft"]
    subprocess.run([*inside, "-f", "-"], input=BRIDGED, text=True, check=True)
    try:
        for pod in ("b", "plain"):
            bench.serve(pod)
        node.apply(Plan((), ALL, divert_unknown=False))
        bench.ask("a", bench.ip("b"))  # who has which address is asked once, by broadcast
        before, packets = node.counters()["handed_over"], bridged(bench)
        assert bench.run("a", MANY, bench.ip("b")).strip() == "50"
        assert node.counters()["handed_over"] - before > 50 * 6
        assert bridged(bench) == packets
        assert bench.ask("a", bench.ip("plain")) == "plain"
        assert bridged(bench) > packets
        packets = bridged(bench)
        node.remove_pod(bench.ip("b"))
        before = node.counters()["handed_over"]
        bench.ask("a", bench.ip("b"))
        assert node.counters()["handed_over"] == before
    finally:
        subprocess.run([*inside, "delete table bridge seen"], check=True)
