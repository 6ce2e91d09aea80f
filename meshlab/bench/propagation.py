"""From `apply` to obeyed: how long until each proxy acknowledged a policy change, and until a request obeyed it."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pandas as pd

from meshlab.bench import documents
from meshlab.bench.rows import Row
from meshlab.errors import MeshlabError

if TYPE_CHECKING:
    from meshlab.lab.session import Lab

PROXIES, CHANGES, INTERVAL_MS, BETWEEN_S = 20, 20, 25.0, 1.2
CONDITIONS = (
    f"{CHANGES} changes (a DENY policy applied, then deleted, in turn) over {PROXIES} proxies; each is asked every"
    f" {INTERVAL_MS:g} ms by a meshed client; times count from the call of apply; obeyed = when the first request with"
    " the new verdict was sent"
)


def measure(lab: Lab) -> list[Row]:
    """The distribution over proxies and changes, to ACK and to obeyed."""
    lab.apply([documents.namespace(), *documents.workload("target", replicas=PROXIES), *documents.workload("poller")])
    lab.wait(timeout_s=180)
    targets = {f"{pod.ip}:{documents.PORT}": str(pod.pod) for pod in lab.pods() if pod.workload == "target"}
    rows: list[list[Any]] = []
    seconds = CHANGES * BETWEEN_S + 3

    def poll() -> None:
        command = [sys.executable, "-m", "meshlab.bench.poller", str(seconds), str(INTERVAL_MS), *targets]
        done = lab.exec("poller", command, namespace=documents.NAMESPACE, timeout_s=seconds + 60)
        if done.exit_code:
            raise MeshlabError(f"the poller failed: {done.stderr.decode()[-500:]}")
        rows.extend(json.loads(done.stdout))

    thread = threading.Thread(target=poll)
    thread.start()
    time.sleep(1.5)
    changes = [_change(lab, index) for index in range(CHANGES)]
    thread.join()
    lab.remove("namespace", documents.NAMESPACE)
    return _rows(lab, changes, rows, targets)


def _change(lab: Lab, index: int) -> tuple[int, int]:
    """Apply or delete the policy; when (Unix ns), and the status that obeys it."""
    began = time.time_ns()
    document = documents.deny("target", "poller")
    if index % 2 == 0:
        lab.apply(document)
    else:
        lab.delete(document)
    time.sleep(max(0.0, BETWEEN_S - (time.time_ns() - began) / 1e9))
    return began, 200 if index % 2 else 403


def _rows(lab: Lab, changes: list[tuple[int, int]], asked: list[list[Any]], targets: dict[str, str]) -> list[Row]:
    events = lab.config_events()
    acks = events[(events["kind"] == "ack") & (events["type"] == "RouteConfiguration")]
    to_ack, to_obeyed, strayed = [], [], 0
    for (began, status), (end, _) in zip(changes, [*changes[1:], (2**63, 0)], strict=True):
        for address, pod in targets.items():
            to_ack += _first_ack(acks, pod, began, end)
            seen = [(sent, answer) for where, sent, answer in asked if where == address and began <= sent < end]
            obeyed = [sent for sent, answer in seen if answer == status]
            if obeyed:
                to_obeyed.append((obeyed[0] - began) / 1e6)
                strayed += sum(answer != status for sent, answer in seen if sent > obeyed[0])
    load = f"{PROXIES} proxies"
    rows = [
        Row(
            "propagation",
            "sidecar",
            load,
            f"{name} {label}",
            float(pd.Series(values).quantile(q)),
            "ms",
            rounds=len(values),
        )
        for name, values in (("to_ack", to_ack), ("to_obeyed", to_obeyed))
        for label, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
    ]
    wanted = len(changes) * len(targets)
    rows.append(Row("propagation", "sidecar", load, "never obeyed", wanted - len(to_obeyed), "of all", rounds=wanted))
    rows.append(Row("propagation", "sidecar", load, "old verdict after new", strayed, "requests", rounds=wanted))
    return rows


def _first_ack(acks: pd.DataFrame, pod: str, began: int, end: int) -> list[float]:
    """Milliseconds to the first acknowledged route configuration (authorization travels with the routes)."""
    at = acks["time"].astype("int64")
    mine = at[(acks["namespace"] + "/" + acks["pod"] == pod) & (at >= began) & (at < end)]
    return [(int(mine.iloc[0]) - began) / 1e6] if len(mine) else []
