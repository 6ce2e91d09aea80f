"""Where pods go."""

from __future__ import annotations

from collections import Counter

from meshlab.runtimes.local.scheduler import Scheduler

NODES = ["node-1", "node-2", "node-3"]


def test_spreads_evenly() -> None:
    scheduler = Scheduler(NODES, [("node-2", "a", "old")])
    placed = Counter(scheduler.place("a", "web") for _ in range(11))
    assert placed == {"node-1": 4, "node-2": 3, "node-3": 4}


def test_between_equals_takes_the_node_without_the_same_workload() -> None:
    scheduler = Scheduler(NODES[:2], [("node-1", "a", "web"), ("node-2", "a", "other")])
    assert scheduler.place("a", "web") == "node-2"


def test_a_pin_is_kept_or_nothing() -> None:
    scheduler = Scheduler(NODES, [("node-3", "a", "x")] * 5)
    assert scheduler.place("a", "web", "node-3") == "node-3"
    assert scheduler.place("a", "web", "node-9") is None
