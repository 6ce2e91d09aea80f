"""What a lab takes as its pods grow: an Envoy in each, or one on each node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from meshlab.bench import documents
from meshlab.bench.rows import Row

if TYPE_CHECKING:
    import pandas as pd

    from meshlab.lab.session import Lab

SIZES, IDLE_S, RATE, LOAD_S = (2, 10, 50, 100), 10.0, 100.0, 5.0
CONDITIONS = (
    f"pods of meshlab/echo on two nodes; memory is PSS (proxies: all of them; node-proxy, agent: both); idle CPU over"
    f" {IDLE_S:g} s, in cores"
)


def measure(lab: Lab) -> list[Row]:
    """Time until ready, memory and idle CPU by part, and whether requests are served, for each plane and size."""
    rows = []
    for mode in ("sidecar", "sidecarless"):
        for pods in SIZES:
            rows += _size(lab, mode, pods)
        lab.remove("namespace", documents.NAMESPACE)
        lab.wait(timeout_s=120)
    return rows


def _size(lab: Lab, mode: str, pods: int) -> list[Row]:
    began = time.monotonic()
    client = documents.workload("client", image="meshlab/echo", mode=mode, ready_path="/healthz")
    many = documents.workload("many", image="meshlab/echo", mode=mode, replicas=pods - 1, ready_path="/healthz")
    lab.apply([documents.namespace(), *client, *many])
    lab.wait(timeout_s=300)
    ready_s = time.monotonic() - began
    before = _sum(lab.resources(), "cpu_s")
    time.sleep(IDLE_S)
    resources = lab.resources()
    idle = (_sum(resources, "cpu_s") - before) / IDLE_S
    summary = lab.traffic("client", "http://many/", namespace=documents.NAMESPACE, rate=RATE, duration_s=LOAD_S).summary
    load = f"{pods} pods"
    rows = [Row("scale", mode, load, "ready", ready_s, "s")]
    rows += [
        Row("scale", mode, load, f"memory of {part}", float(size) / 1e6, "MB")
        for part, size in _sum(resources, "pss_bytes").items()
    ]
    if mode == "sidecarless":
        counted = lab.counters()
        size = float(counted[counted["counter"] == "maps.bytes"]["value"].sum())
        rows.append(Row("scale", mode, load, "memory of the kernel's maps", size / 1e6, "MB"))
    rows += [Row("scale", mode, load, f"idle CPU of {part}", float(cores), "cores") for part, cores in idle.items()]
    rows.append(Row("scale", mode, f"{load}, {RATE:g} requests/s", "failed", summary["failed"], "requests",
                    rounds=summary["sent"]))  # fmt: skip
    return rows


def _sum(resources: pd.DataFrame, column: str) -> pd.Series[float]:
    """By part; those that have run so far."""
    return resources[resources["pids"] > 0].groupby("part")[column].sum()
