"""Does a plan hang together, and does it fit? Asked before any agent is served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from meshlab.model.kernel import KernelPlan, KernelWorkload

ROOM = {"rules": 131_072, "backends": 32_768, "services": 8_192, "workloads": 65_536, "pods": 4_096}
"""Entries of the kernel's maps (bpf/include; half of those that hold two generations)."""


def check(plan: KernelPlan) -> tuple[str, ...]:
    """Problems: what is twice, what is missing, what does not fit."""
    return (*_sizes(plan), *_twice(plan), *(problem for one in plan.workloads for problem in _rules(one)))


def _sizes(plan: KernelPlan) -> Iterator[str]:
    own = [workload for workload in plan.workloads if workload.netns]
    sizes = {
        "rules": sum(len(one.rules) for one in own) + sum(len(one.carried) for one in plan.services),
        "backends": sum(len(service.backends) for service in plan.services),
        "services": len(plan.services),
        "workloads": len(plan.workloads),
        "pods": len(own),
    }
    for name, size in sizes.items():
        if size > ROOM[name]:
            yield f"{plan.node}: {size} {name}, and its kernel has room for {ROOM[name]}"


def _twice(plan: KernelPlan) -> Iterator[str]:
    names = Counter([*(one.resource for one in plan.workloads), *(one.resource for one in plan.services)])
    yield from (f"{plan.node}: {name} is there {count} times" for name, count in names.items() if count > 1)


def _rules(workload: KernelWorkload) -> Iterator[str]:
    keys = Counter((rule.port, rule.source) for rule in workload.rules)
    if workload.netns and (0, "") not in keys:
        yield f"{workload.pod}: no rule for what no other rule knows"
    for (port, source), count in keys.items():
        if count > 1:
            yield f"{workload.pod}: {count} rules for port {port} from {source or 'anyone'}"
