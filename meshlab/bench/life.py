"""How long a lab takes to come up, to serve its first meshed request, and to go."""

from __future__ import annotations

import time
from collections.abc import Callable

from meshlab.bench.rows import Row, of_rounds
from meshlab.errors import TimedOut
from meshlab.lab.session import Lab

ROUNDS = 3
CONDITIONS = (
    "two nodes, the shop's six pods, packages installed; a first request is a 200 from web through both proxies"
)


def measure(name: str, progress: Callable[[str], None]) -> list[Row]:
    """`up`, first request (both from the call of up), `down`."""
    times: dict[str, list[float]] = {"up": [], "first meshed request": [], "all pods ready": [], "down": []}
    for number in range(ROUNDS):
        progress(f"life, round {number + 1} of {ROUNDS}")
        lab = Lab(name, nodes=2)
        began = time.monotonic()
        try:
            lab.up()
            times["up"].append(time.monotonic() - began)
            lab.apply("sample:shop")
            _first_request(lab)
            times["first meshed request"].append(time.monotonic() - began)
            lab.wait()
            times["all pods ready"].append(time.monotonic() - began)
        finally:
            began = time.monotonic()
            lab.down()
            times["down"].append(time.monotonic() - began)
    return [of_rounds("life", "sidecar", "6 pods", metric, "s", values) for metric, values in times.items()]


def _first_request(lab: Lab) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if {"web", "catalog"} <= {pod.workload for pod in lab.pods() if pod.ready}:
            done = lab.exec("web", ["bash", "-c", _ASK], namespace="shop")
            if b"200 OK" in done.stdout:
                return
        time.sleep(0.02)
    raise TimedOut("no meshed request was answered within 60 s", hint="meshlab get pods")


_ASK = (
    "exec 3<>/dev/tcp/catalog/80 && "
    "printf 'GET / HTTP/1.1\\r\\nHost: catalog\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -1 <&3"
)
