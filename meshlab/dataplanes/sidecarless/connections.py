"""Established connections under a new plan: what it would not let pass any more is reset.

Rules are asked when a connection begins. A plan that denies it later, or wants the proxy to read it, must not be passed
by on a connection that is kept alive; so both of its ends are destroyed (SOCK_DESTROY of sock_diag(7), by ss(8)).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import ANY_PORT, ANY_SOURCE, Plan, Rule, RuleVerdict
from meshlab.dataplanes.sidecarless.tables import unpacked
from meshlab.kit import processes


def reset_refused(kernel: KernelNode, plan: Plan, namespaces: Mapping[str, str]) -> int:
    """Reset the same-node connections that `plan` does not allow; how many. `namespaces`: address -> path of the
    network namespace, of this node's pods."""
    rules = {(rule.destination, rule.port, rule.source): rule for rule in plan.rules}
    ends: dict[str, list[str]] = defaultdict(list)
    found = 0
    for key, flow in kernel.flows():
        rule = _most_specific(rules, int(flow.destination_pod), int(key.server_port), int(flow.source_identity))
        if rule is None or rule.verdict is RuleVerdict.ALLOW or flow.source_pod == flow.destination_pod:
            continue
        client = f"{unpacked(key.client_ip)}:{key.client_port}"
        server = f"{unpacked(key.server_ip)}:{key.server_port}"
        ends[namespaces.get(unpacked(key.client_ip), "")].append(f"( src {client} and dst {server} )")
        ends[namespaces.get(unpacked(key.server_ip), "")].append(f"( src {server} and dst {client} )")
        found += 1
    for netns, filters in ends.items():
        if netns:
            _destroy(netns, filters)
    return found


def _most_specific(rules: Mapping[tuple[int, int, int], Rule], pod: int, port: int, source: int) -> Rule | None:
    """As `rule_for` of bpf/include/rules.h."""
    for key in ((port, source), (port, ANY_SOURCE), (ANY_PORT, source), (ANY_PORT, ANY_SOURCE)):
        found = rules.get((pod, *key))
        if found is not None:
            return found
    return None


def _destroy(netns: str, filters: list[str]) -> None:
    expression = " or ".join(filters).split()
    processes.run(["nsenter", f"--net={netns}", "ss", "-K", "-t", "-n", *expression], check=False)
