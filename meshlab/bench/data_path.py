"""What each plane costs between two nodes and within one: against no mesh, and (between nodes) a pair of sidecars
against a pair of Envoys configured by hand, in one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from meshlab.bench import documents, handwritten
from meshlab.bench.rows import Row, of_rounds
from meshlab.model.services import HBONE

if TYPE_CHECKING:
    from meshlab.lab.session import Lab

ROUNDS, SECONDS = 5, 4.0
_COMMON = (
    f"nginx (200 bytes), wrk -t1 inside the client's pod, {ROUNDS} rounds of {SECONDS:g} s interleaved; CPU is that of"
    " both pods, of proxies and agents, without wrk"
)
CONDITIONS = f"two nodes joined by veth pairs and bridges, {_COMMON}; hand-written: proxy/handwritten"
ACROSS_NODES_CONDITIONS = (
    f"two nodes joined by veth pairs and bridges, the Service's port declared as TCP, so that every proxy works at"
    f" layer 4: by TLS of each connection, and by HBONE; {_COMMON}"
)
SAME_NODE_CONDITIONS = f"one node, veth pairs on one bridge, {_COMMON}; a row for every request with either plane"


@dataclass(frozen=True)
class Load:
    name: str
    connections: int
    headers: tuple[tuple[str, str], ...] = ()
    metrics: tuple[str, ...] = ()


LOADS = (
    Load("c=1", 1, metrics=("p50", "p99")),
    Load("c=16", 16, metrics=("throughput", "p50", "p99", "CPU per 1000 requests")),
    Load("new connections, c=16", 16, (("Connection", "close"),), ("throughput", "CPU per 1000 requests")),
)
_STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
_MODES = ("none", "sidecar", "sidecarless")
_UNITS = {"p50": "ms", "p99": "ms", "throughput": "1/s", "CPU per 1000 requests": "s"}


@dataclass
class Way:
    """One way from a client to a server; `seen` has a value a round, by load and metric."""

    mode: str
    client: str
    server: str
    url: str
    seen: dict[tuple[str, str], list[float]] = field(default_factory=dict)


def measure(lab: Lab, progress: Callable[[str], None]) -> list[Row]:
    """Between two nodes: latency, throughput, new connections and CPU of each way."""
    ways = _deploy(lab, "node-1", "node-2", handwritten.pods("node-1", "node-2"))
    ways.append(Way("hand-written", handwritten.CLIENT, handwritten.SERVER, handwritten.start(lab)))
    _rounds(lab, ways, progress)
    return _rows("data-path", ways)


def measure_across_nodes(lab: Lab, progress: Callable[[str], None]) -> list[Row]:
    """Between two nodes at layer 4: the same of each plane, and the sidecarless one against the pair of sidecars."""
    tunnelled = [
        *documents.workload("hbone-client", mode="sidecarless", node="node-1"),
        *documents.workload("hbone-server", mode="sidecarless", node="node-2", protocol="tcp", tunnel=HBONE),
    ]
    ways = _deploy(lab, "node-1", "node-2", tunnelled, protocol="tcp")
    ways.append(Way("sidecarless, HBONE", "hbone-client", "hbone-server", "http://hbone-server/"))
    _rounds(lab, ways, progress)
    return _rows("across-nodes", ways)


def measure_same_node(lab: Lab, progress: Callable[[str], None]) -> list[Row]:
    """Within one node: the same of each plane, and the sidecarless one against the pair of sidecars; then what the
    kernel's programs themselves take, and whether an event was lost."""
    ways = _deploy(lab, "node-1", "node-1")
    _rounds(lab, ways, progress)
    return [*_rows("same-node", ways), *_programs(lab, ways[-1])]


def _programs(lab: Lab, way: Way) -> list[Row]:
    """In a round of its own: to count costs time too."""
    before = _STATISTICS.read_text()
    _STATISTICS.write_text("1")
    try:
        first = lab.counters().set_index("counter")["value"]
        summary = lab.traffic(
            way.client,
            way.url,
            namespace=documents.NAMESPACE,
            tool="wrk",
            connections=16,
            threads=1,
            duration_s=SECONDS,
        ).summary
        last = lab.counters().set_index("counter")["value"]
    finally:
        _STATISTICS.write_text(before)
    took = (last - first).filter(like="program.")
    rows = [
        Row(
            "same-node",
            way.mode,
            "c=16",
            f"kernel time of {str(name).split('.')[1]} per request",
            ns / summary["ok"],
            "ns",
        )
        for name, ns in took.items()
        if ns > summary["ok"]
    ]
    return [*rows, Row("same-node", way.mode, "all rounds", "events lost", float(last["flows.dropped"]), "events")]


def _deploy(
    lab: Lab, client: str, server: str, more: Sequence[documents.Document] = (), protocol: str = "http"
) -> list[Way]:
    wanted = [documents.namespace(), *more]
    for mode in _MODES:
        wanted += documents.workload(f"{mode}-client", mode=mode, node=client)
        wanted += documents.workload(f"{mode}-server", mode=mode, node=server, protocol=protocol)
    lab.apply(wanted)
    lab.wait(timeout_s=120)
    return [Way(mode, f"{mode}-client", f"{mode}-server", f"http://{mode}-server/") for mode in _MODES]


def _rounds(lab: Lab, ways: list[Way], progress: Callable[[str], None]) -> None:
    for number in range(ROUNDS):
        progress(f"data path, round {number + 1} of {ROUNDS}")
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            for load in LOADS:
                _round(lab, way, load)


def _round(lab: Lab, way: Way, load: Load) -> None:
    before = _cpu(lab, way)
    summary = lab.traffic(
        way.client, way.url, namespace=documents.NAMESPACE, tool="wrk", connections=load.connections, threads=1,
        duration_s=SECONDS, headers=load.headers,
    ).summary  # fmt: skip
    cpu_s = _cpu(lab, way) - before
    values = {
        "p50": summary["latency_ms"]["p50"],
        "p99": summary["latency_ms"]["p99"],
        "throughput": summary["rate_achieved"],
        "CPU per 1000 requests": 1000 * cpu_s / max(1, summary["ok"]),
    }
    for metric in load.metrics:
        way.seen.setdefault((load.name, metric), []).append(values[metric])
    way.seen.setdefault((load.name, "failed"), []).append(summary["failed"])


def _cpu(lab: Lab, way: Way) -> float:
    """CPU seconds of the two pods so far: applications and proxies (the nodes' shared ones and agents serve no other
    way)."""
    resources = lab.resources()
    mine = resources["pod"].str.startswith((f"{way.client}-", f"{way.server}-"))
    if way.mode.startswith("sidecarless"):
        mine |= resources["part"].isin(["node-proxy", "agent"])
    return float(resources[mine]["cpu_s"].sum())


def _rows(case: str, ways: list[Way]) -> list[Row]:
    seen = {way.mode: way.seen for way in ways}
    plain = seen["none"]
    rows = []
    for way in ways:
        for (load, metric), values in way.seen.items():
            if metric == "failed":
                if sum(values):
                    rows.append(Row(case, way.mode, load, metric, sum(values), "requests", rounds=len(values)))
                continue
            direct = plain[load, metric] if way.mode != "none" else ()
            rows.append(of_rounds(case, way.mode, load, metric, _UNITS[metric], values, direct))
    mine, theirs = ("sidecar", "hand-written") if "hand-written" in seen else ("sidecarless", "sidecar")
    for (load, metric), values in seen[mine].items():
        if metric != "failed":
            ratios = [one / other for one, other in zip(values, seen[theirs][load, metric], strict=True)]
            rows.append(of_rounds(case, f"{mine} against {theirs}", load, metric, "times", ratios))
    return rows
