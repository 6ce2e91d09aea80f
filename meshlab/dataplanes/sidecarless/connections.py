"""Established connections under a new plan: what it would carry in another way is reset.

Services and rules are asked when a connection begins. A plan that denies it later, or wants the proxy to read its
requests, must not be passed by on a connection that is kept alive; so both of its ends are destroyed (SOCK_DESTROY of
sock_diag(7), by ss(8)). One that is denied goes at once; one that only takes another way when no request is on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from meshlab.dataplanes.sidecarless import source
from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import ANY_PORT, ANY_SOURCE, Plan, Rule, RuleVerdict
from meshlab.dataplanes.sidecarless.tables import unpacked
from meshlab.kit import processes

_HTTP_OFF = source.numbers("flows", "HTTP_")["OFF"]
_END = source.numbers("flows", "END_")


Rules = Mapping[tuple[int, int, int], Rule]
"""By destination, port and source."""


def reset(kernel: KernelNode, plan: Plan, namespaces: Mapping[str, str], *, patient: bool) -> int:
    """Reset the connections that `plan` carries otherwise; how many of them still have a request to finish
    (none is waited for unless `patient`). `namespaces`: address -> path of the network namespace, of this node's pods.
    """
    rules = {(rule.destination, rule.port, rule.source): rule for rule in plan.rules}
    by_proxy = {service.index for service in plan.services if service.proxy}
    ends: dict[str, list[str]] = defaultdict(list)
    busy = 0
    for key, flow in kernel.flows():
        denied = flow.end == _END["BOTH"] and _is_denied(rules, key, flow)
        if not (denied or _is_rerouted(rules, by_proxy, flow)):
            continue
        if patient and not denied and flow.http.open:
            busy += 1
            continue
        for netns, one in _ends(key, flow, namespaces):
            ends[netns].append(one)
    for netns, filters in ends.items():
        _destroy(netns, filters)
    return busy


def _is_denied(rules: Rules, key: Any, flow: Any) -> bool:
    """Of those within the node."""
    rule = _most_specific(rules, int(flow.destination_pod), int(key.server_port), int(flow.source_identity))
    return rule is not None and rule.verdict is not RuleVerdict.ALLOW and bool(flow.source_pod != flow.destination_pod)


def _is_rerouted(rules: Rules, by_proxy: set[int], flow: Any) -> bool:
    """Is the proxy to read its next request? What comes from another node, that one's agent sees to."""
    carried = _most_specific(rules, int(flow.service), ANY_PORT, int(flow.source_identity)) is not None
    here = flow.end != _END["DESTINATION"] and flow.http.state != _HTTP_OFF
    return bool(here and flow.service in by_proxy and not carried)


def _ends(key: Any, flow: Any, namespaces: Mapping[str, str]) -> list[tuple[str, str]]:
    """The namespace of each end, and the expression that finds its socket there; of what is carried, the client's."""
    client, server = unpacked(key.client_ip), unpacked(key.server_ip)
    one, other = f"{client}:{key.client_port}", f"{server}:{key.server_port}"
    return [
        (namespaces[ip], f"( src {mine} and dst {theirs} )")
        for ip, mine, theirs in ((unpacked(flow.source_ip), one, other), (unpacked(flow.destination_ip), other, one))
        if ip in namespaces
    ]


def _most_specific(rules: Rules, pod: int, port: int, source: int) -> Rule | None:
    """As `rule_for` of bpf/include/rules.h."""
    for key in ((port, source), (port, ANY_SOURCE), (ANY_PORT, source), (ANY_PORT, ANY_SOURCE)):
        found = rules.get((pod, *key))
        if found is not None:
            return found
    return None


def _destroy(netns: str, filters: list[str]) -> None:
    expression = " or ".join(filters).split()
    processes.run(["nsenter", f"--net={netns}", "ss", "-K", "-t", "-n", *expression], check=False)
