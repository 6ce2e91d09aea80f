"""Charts: pure functions from a frame to an `alt.Chart`; aggregated first, so that few rows leave the kernel."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from meshlab.errors import MeshlabError

PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
"""Okabe and Ito's colour-blind safe palette."""
MAX_ROWS = 5_000
"""What a chart may carry: more makes notebooks slow, and Altair refuses it."""
_POINTS = 200
_LEAST_MS = 0.001
"""A logarithmic axis has no 0."""


def _without_a_network() -> None:
    """Altair's own default draws by a script from a CDN, which a workshop room does not have."""
    if importlib.util.find_spec("anywidget") is not None:
        alt.renderers.enable("jupyter", offline=True)
    else:
        alt.renderers.enable("png")


_without_a_network()


def latency_ecdf(flows: pd.DataFrame, by: str = "destination_workload") -> alt.Chart:
    """The empirical distribution of request latency, a line per value of `by`; at most 200 points a line, and
    fewer where there are many lines."""
    seen = flows[(flows["kind"] == "request") & (flows["reporter"] == "source")].dropna(subset=[by, "latency_ms"])
    parts = []
    points = max(2, min(_POINTS, MAX_ROWS // max(1, seen[by].nunique())))
    steps = [step / points for step in range(1, points + 1)]
    for name, group in seen.groupby(by, observed=True):
        values = group["latency_ms"].astype(float).clip(lower=_LEAST_MS).quantile(steps)
        parts.append(pd.DataFrame({"latency_ms": values.to_numpy(), "share": steps, by: str(name)}))
    data = pd.concat(parts) if parts else pd.DataFrame({"latency_ms": [], "share": [], by: []})
    chart: alt.Chart = (
        alt.Chart(data, title="Latency as the source saw it")
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("latency_ms:Q", title="latency (ms)", scale=alt.Scale(type="log")),
            y=alt.Y("share:Q", title="share of requests", axis=alt.Axis(format="%")),
            color=alt.Color(f"{by}:N", title=by.replace("_", " "), scale=alt.Scale(range=PALETTE)),
            tooltip=[by, alt.Tooltip("latency_ms:Q", format=".2f"), alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=480, height=280)
    )
    return chart


def save(chart: alt.Chart, path: Path) -> None:
    """A picture (.png, .svg) or a page (.html), all without a network. MeshlabError for another ending."""
    options: dict[str, dict[str, Any]] = {".png": {"scale_factor": 2}, ".svg": {}, ".html": {"inline": True}}
    if path.suffix not in options:
        raise MeshlabError(f"{path.name}: expected a name that ends with {', '.join(options)}")
    chart.save(str(path), **options[path.suffix])
