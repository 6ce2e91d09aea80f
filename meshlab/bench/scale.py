"""How much a lab of fifty meshed pods takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from meshlab.bench import documents
from meshlab.bench.rows import Row

if TYPE_CHECKING:
    import pandas as pd

    from meshlab.lab.session import Lab

PODS, IDLE_S, RATE, LOAD_S = 50, 10.0, 100.0, 5.0
CONDITIONS = f"{PODS} pods of meshlab/echo, an Envoy each; memory is PSS; idle CPU over {IDLE_S:g} s, in cores"


def measure(lab: Lab) -> list[Row]:
    """Time until ready, memory and idle CPU by part, and whether requests are served."""
    began = time.monotonic()
    client = documents.workload("client", image="meshlab/echo", ready_path="/healthz")
    many = documents.workload("many", image="meshlab/echo", replicas=PODS - 1, ready_path="/healthz")
    lab.apply([documents.namespace(), *client, *many])
    lab.wait(timeout_s=300)
    ready_s = time.monotonic() - began
    before = _cpu(lab.resources())
    time.sleep(IDLE_S)
    resources = lab.resources()
    idle = (_cpu(resources) - before) / IDLE_S
    summary = lab.traffic("client", "http://many/", namespace=documents.NAMESPACE, rate=RATE, duration_s=LOAD_S).summary
    memory = resources.groupby("part")["pss_bytes"].sum() / 1e6
    each = resources[resources["part"] == "proxy"]["pss_bytes"] / 1e6
    load = f"{PODS} pods"
    rows = [Row("scale", "sidecar", load, "ready", ready_s, "s")]
    rows += [Row("scale", "sidecar", load, f"memory of {part}", float(mb), "MB") for part, mb in memory.items()]
    rows.append(Row("scale", "sidecar", load, "memory of one proxy", float(each.median()), "MB", rounds=len(each),
                    spread=float((each.max() - each.min()) / each.median())))  # fmt: skip
    rows += [
        Row("scale", "sidecar", load, f"idle CPU of {part}", float(cores), "cores") for part, cores in idle.items()
    ]
    rows.append(Row("scale", "sidecar", f"{load}, {RATE:g} requests/s", "failed", summary["failed"], "requests",
                    rounds=summary["sent"]))  # fmt: skip
    lab.remove("namespace", documents.NAMESPACE)
    return rows


def _cpu(resources: pd.DataFrame) -> pd.Series[float]:
    return resources.groupby("part")["cpu_s"].sum()
