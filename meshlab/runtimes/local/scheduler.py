"""Which node a pod goes to: pinned by `nodeName`, else the node with the fewest pods. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


class Scheduler:
    """Counts the pods it placed; `placed` are (node, namespace, workload) of those that run."""

    def __init__(self, nodes: Sequence[str], placed: Iterable[tuple[str, str, str]]) -> None:
        self._nodes = list(nodes)
        self._load: Counter[str] = Counter()
        self._same: Counter[tuple[str, str, str]] = Counter()
        for node, namespace, workload in placed:
            self._count(node, namespace, workload)

    def _count(self, node: str, namespace: str, workload: str) -> None:
        self._load[node] += 1
        self._same[(node, namespace, workload)] += 1

    def place(self, namespace: str, workload: str, pin: str = "") -> str | None:
        """A node, or None where the pin names none. Between equally loaded nodes, the one with fewer pods of the same
        workload."""
        if pin and pin not in self._nodes:
            return None
        node = pin or min(self._nodes, key=lambda one: (self._load[one], self._same[(one, namespace, workload)], one))
        self._count(node, namespace, workload)
        return node
