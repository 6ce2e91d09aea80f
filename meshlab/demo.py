"""The main job in one call: `python -m meshlab.demo` brings a mesh up, shows what it does, and leaves nothing behind.

Every figure printed is measured in this run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.bar import Bar
from rich.console import Console
from rich.table import Table

from meshlab.errors import MeshlabError
from meshlab.lab.session import Lab
from meshlab.telemetry import frames

if TYPE_CHECKING:
    import pandas as pd

_console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
_ROUNDS = 2
_FAILING = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: ratings-broken, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: ratings, version: broken}}
  template:
    metadata: {labels: {app: ratings, version: broken}}
    spec:
      serviceAccountName: ratings
      containers:
      - name: app
        image: meshlab/echo
        env: [{name: NAME, value: ratings-broken}, {name: FAIL_EVERY, value: "1"}, {name: FAIL_STATUS, value: "503"}]
        ports: [{containerPort: 8080, name: http}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}}
"""
_NO_STRANGERS = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-strangers, namespace: shop}
spec:
  selector: {matchLabels: {app: ratings}}
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/stranger]}}]}]
"""
_CLIENTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: stranger, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stranger, namespace: shop}
spec:
  selector: {matchLabels: {app: stranger}}
  template:
    metadata: {labels: {app: stranger}}
    spec:
      serviceAccountName: stranger
      containers: [{name: app, image: meshlab/echo}]
"""
_PAIR = """
apiVersion: v1
kind: Namespace
metadata: {{name: {mode}, labels: {{meshlab.io/mode: {mode}}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: client, namespace: {mode}}}
spec:
  selector: {{matchLabels: {{app: client}}}}
  template:
    metadata: {{labels: {{app: client}}}}
    spec:
      nodeName: node-1
      containers: [{{name: app, image: meshlab/echo}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: server, namespace: {mode}}}
spec:
  selector: {{matchLabels: {{app: server}}}}
  template:
    metadata: {{labels: {{app: server}}}}
    spec:
      nodeName: node-2
      containers: [{{name: app, image: meshlab/echo}}]
---
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: {mode}}}
spec:
  selector: {{app: server}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"""
_MODES = {"none": "#0072B2", "sidecar": "#E69F00", "sidecarless": "#009E73"}


def _say(title: str) -> None:
    _console.print(f"\n[bold]{title}[/bold]")


def _table(frame: pd.DataFrame) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in frame.columns:
        table.add_column(str(column), overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row))
    _console.print(table)


def split_report(lab: Lab) -> pd.DataFrame:
    """The canary: where requests for reviews went against the weights of the route. Points off must be <= 5."""
    lab.apply("sample:shop-canary")
    lab.wait()
    lab.traffic("catalog", "http://reviews/", namespace="shop", rate=100.0, duration_s=6.0)
    flows = lab.flows()
    seen = flows[(flows["reporter"] == "source") & flows["destination_workload"].isin(["reviews-v1", "reviews-v2"])]
    seen = seen[seen["source_workload"] == "catalog"]
    seen = seen[seen["route"].astype("string").str.startswith("shop/", na=False)]
    share = (seen["destination_workload"].value_counts(normalize=True) * 100).rename("percent").reset_index()
    wanted = {ref["name"]: ref["weight"] for ref in _weights(lab)}
    share["wanted_percent"] = [
        100.0 * wanted.get(name, 0) / sum(wanted.values()) for name in share["destination_workload"]
    ]
    return share


def _weights(lab: Lab) -> list[dict[str, Any]]:
    rules = lab.manifests("httproutes", namespace="shop")[0]["spec"]["rules"]
    refs: list[dict[str, Any]] = rules[-1]["backendRefs"]
    return refs


def denied_report(lab: Lab) -> pd.DataFrame:
    """A call that policy refuses: who, what, and the policy and rule that decided."""
    lab.apply("sample:shop-policy")
    lab.apply(_NO_STRANGERS)
    lab.wait()
    done = lab.exec("stranger", ["python3", "-c", _CALL.format(url="http://ratings/")], namespace="shop")
    _console.print(f"stranger -> http://ratings/ answered {done.stdout.decode().strip()}")
    flows = lab.flows()
    denied = flows[(flows["verdict"] == "denied") & (flows["reporter"] == "destination")]
    return denied[
        ["source_principal", "destination_workload", "method", "path", "status", "reason", "policy", "rule"]
    ].tail(3)


_CALL = """
import urllib.request, urllib.error
try: print(urllib.request.urlopen('{url}', timeout=5).status)
except urllib.error.HTTPError as error: print(error.code)
"""


def ejection_report(lab: Lab) -> pd.DataFrame:
    """One of the backends of ratings begins to fail: it is taken out of rotation after its first errors."""
    lab.apply(_FAILING)
    lab.wait()
    result = lab.traffic("reviews-v1", "http://ratings/", namespace="shop", rate=60.0, duration_s=4.0)
    _console.print(f"answers: {result.summary['status']} errors: {result.summary['errors']}")
    flows = lab.flows()
    recent = flows[
        (flows["reporter"] == "source")
        & (flows["source_workload"] == "reviews-v1")
        & flows["destination_workload"].isin(["ratings", "ratings-broken"])
        & (flows["time"] >= result.frame["scheduled"].min())
    ]
    counts = recent.groupby("destination_workload", observed=True).agg(
        requests=("count", "sum"), errors=("status", lambda status: int((status >= 500).sum()))
    )
    lab.remove("deployment", "ratings-broken", namespace="shop")
    reset: pd.DataFrame = counts.reset_index()
    return reset


def latency_report(lab: Lab) -> pd.DataFrame:
    """The same load from one node to the other without a mesh, with sidecars, with an Envoy per node; interleaved."""
    import pandas as pd

    sent: dict[str, list[pd.DataFrame]] = {mode: [] for mode in _MODES}
    for _ in range(_ROUNDS):
        for mode, found in sent.items():
            found.append(lab.traffic("client", "http://server/", namespace=mode, rate=100.0, duration_s=3.0).frame)
    rows = []
    for mode, parts in sent.items():
        frame = pd.concat(parts)
        p50, p90, p99 = frame["latency_ms"].quantile([0.5, 0.9, 0.99])
        failed = int((frame["status"] != 200).sum())
        rows.append(
            {"mode": mode, "requests": len(frame), "failed": failed, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99}
        )
    return pd.DataFrame(rows)


def _ladder(latency: pd.DataFrame) -> None:
    """The percentiles as bars, all on one scale."""
    table = Table(box=None, show_header=False, pad_edge=False)
    longest = float(latency[["p50_ms", "p90_ms", "p99_ms"]].to_numpy().max())
    for percentile in ("p50_ms", "p90_ms", "p99_ms"):
        for mode, value in zip(latency["mode"], latency[percentile], strict=True):
            bar = Bar(longest, 0, value, width=60, color=_MODES[mode])
            table.add_row(percentile.removesuffix("_ms"), str(mode), bar, f"{value:.1f} ms")
    _console.print(table)


def run(lab: Lab, charts_folder: Path | None) -> bool:
    """The whole story; False where something that was promised did not show."""
    started = time.monotonic()
    lab.apply("sample:shop")
    lab.apply(_CLIENTS)
    for mode in _MODES:
        lab.apply(_PAIR.format(mode=mode))
    lab.wait(timeout_s=90)
    _say(f"A shop on {lab.settings.nodes} nodes ({time.monotonic() - started:.1f} s)")
    _table(lab.get("pods")[["namespace", "name", "ready", "mode", "node", "ip"]])
    lab.traffic("web", "http://web/", namespace="shop", rate=40.0, duration_s=3.0)

    _say("Canary split (catalog -> reviews)")
    split = split_report(lab)
    _table(split)
    _say("A denied call")
    denied = denied_report(lab)
    _table(denied)
    _say("A failing backend is taken out")
    ejected = ejection_report(lab)
    _table(ejected)
    _say("Latency with and without the mesh (open loop, 100 requests/s)")
    latency = latency_report(lab)
    _table(latency)
    _ladder(latency)
    flows = lab.flows()
    edges = frames.edges_frame(flows)
    _say(f"Who calls whom ({len(flows)} flows captured)")
    _table(edges)
    _say("Resources")
    resources = lab.resources()
    _table(resources.groupby("part", as_index=False, observed=True)[["cpu_s", "pss_bytes"]].sum())
    if charts_folder is not None:
        _charts(flows, charts_folder)
    return _verdict(split, denied, ejected, edges)


def _charts(flows: pd.DataFrame, folder: Path) -> None:
    from meshlab.workbench import charts

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "latency.png"
    charts.save(charts.latency_ecdf(flows), target)
    _console.print(f"chart: {os.path.relpath(target)}")


def _verdict(split: pd.DataFrame, denied: pd.DataFrame, ejected: pd.DataFrame, edges: pd.DataFrame) -> bool:
    meshed = edges[edges["source_namespace"] != "none"] if "source_namespace" in edges else edges
    broken = ejected[ejected["destination_workload"] == "ratings-broken"]["requests"].sum()
    promises = {
        "split within 5 points of the weights": bool(
            len(split) == 2 and (split["percent"] - split["wanted_percent"]).abs().max() <= 5
        ),
        "the denied call is explained": bool(
            len(denied) and denied["reason"].isin(["no_allow_match", "policy_deny"]).all()
        ),
        "failing backend taken out": bool(0 < broken < ejected["requests"].sum() / 4),
        "mutual TLS on every meshed edge": bool(len(meshed) and (meshed["mtls_share"] == 1.0).all()),
    }
    _say("Promises")
    for promise, kept in promises.items():
        _console.print(f"  {'[green]kept[/green]' if kept else '[red]BROKEN[/red]'}  {promise}")
    return all(promises.values())


def main() -> int:
    """Exit code 0 when all that was promised was seen."""
    parser = argparse.ArgumentParser(prog="python -m meshlab.demo", description=__doc__)
    parser.add_argument("--name", default="demo")
    parser.add_argument("--charts", type=Path, default=None, help="folder for the chart")
    options = parser.parse_args()
    lab = Lab(options.name, progress=lambda text: _console.print(f"[dim]· {text}[/dim]"))
    started = time.monotonic()
    try:
        with lab:
            _say(f"Lab is up ({time.monotonic() - started:.1f} s)")
            kept = run(lab, options.charts)
    except MeshlabError as error:
        _console.print(f"[red]error:[/red] {error}", markup=True)
        return error.exit_code
    _console.print(f"\nEverything is removed again. {time.monotonic() - started:.0f} s in all.")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
