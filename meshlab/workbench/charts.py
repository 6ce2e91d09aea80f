"""Charts: pure functions from a frame to an `alt.Chart`; aggregated first, so that few rows leave the kernel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import altair as alt
import pandas as pd

PALETTE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
"""Okabe and Ito's colour-blind safe palette."""
_POINTS = 200


def _without_a_network() -> None:
    """Altair's own default draws by a script from a CDN, which a workshop room does not have."""
    if importlib.util.find_spec("anywidget") is not None:
        alt.renderers.enable("jupyter", offline=True)
    else:
        alt.renderers.enable("png")


_without_a_network()


def latency_ecdf(flows: pd.DataFrame, by: str = "destination_workload") -> alt.Chart:
    """The empirical distribution of request latency, a line per value of `by`; at most 200 points a line."""
    seen = flows[(flows["kind"] == "request") & (flows["reporter"] == "source")].dropna(subset=[by, "latency_ms"])
    parts = []
    for name, group in seen.groupby(by, observed=True):
        steps = [step / _POINTS for step in range(1, _POINTS + 1)]
        values = group["latency_ms"].astype(float).quantile(steps)
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
    """A picture (png, svg) without a network."""
    chart.save(str(path), scale_factor=2) if path.suffix == ".png" else chart.save(str(path))
