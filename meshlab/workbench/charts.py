"""Charts of flows: a DataFrame in, an `alt.Chart` out. Aggregated first (at most 5000 rows), units in the titles.

Colours are Okabe and Ito's, which people with any colour vision tell apart; quantities use viridis. In JupyterLab the
charts are drawn by the bundled renderer, and `save` uses vl-convert: nothing is fetched from a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import altair as alt
import pandas as pd

from meshlab.errors import MeshlabError
from meshlab.telemetry import queries

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MAX_ROWS = 5000
LADDER = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
_WIDTH, _HEIGHT = 520, 280
_COLOUR = alt.Scale(range=list(PALETTE))


def offline() -> None:
    """Let notebooks draw charts without a network; call it once at the top."""
    alt.renderers.enable("jupyter", offline=True)


def latency_ecdf(
    flows: pd.DataFrame, *, by: str = "destination_workload", value: str = "latency_ms", reporter: str = "source"
) -> alt.Chart:
    """Which share of the requests was at least that fast, one line per value of `by`. Log scale: tails show. Of flows
    only the rows of one `reporter` count ("" for all), since a call between two proxies has two."""
    points = ecdf(_of(flows, reporter), by, value)
    chart: alt.Chart = (
        alt.Chart(points)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("value:Q", title=f"{_words(value)}, log scale", scale=alt.Scale(type="log")),
            y=alt.Y("share:Q", title="share of requests", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("group:N", title=_words(by), scale=_COLOUR),
            tooltip=[alt.Tooltip("group:N", title=_words(by)), alt.Tooltip("value:Q", title="ms", format=".3f"),
                     alt.Tooltip("share:Q", title="share", format=".2%")],
        )
        .properties(width=_WIDTH, height=_HEIGHT, title="Latency of requests")
    )  # fmt: skip
    return chart


def ecdf(frame: pd.DataFrame, by: str, value: str) -> pd.DataFrame:
    """Points of the curves: group, value, share. At most MAX_ROWS in all; the ends of each curve are exact."""
    seen = pd.DataFrame({"group": _labels(frame, by), "value": frame[value].astype("Float64")}).dropna(subset=["value"])
    seen = seen[seen["value"] > 0]
    groups = [(str(name), group["value"]) for name, group in seen.groupby("group", observed=True)][:50]
    size = MAX_ROWS // max(len(groups), 1)
    parts = []
    for name, values in groups:
        count = len(values)
        ranks = (
            pd.Index(range(count)) if count <= size else pd.Index([i * (count - 1) // (size - 1) for i in range(size)])
        )
        ordered = values.sort_values(ignore_index=True).astype("float64")
        parts.append(pd.DataFrame({"group": name, "value": ordered[ranks].to_numpy(), "share": (ranks + 1) / count}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["group", "value", "share"])


def latency_ladder(frame: pd.DataFrame, *, by: str = "mode", value: str = "latency_ms") -> alt.Chart:
    """Percentiles side by side, one line per value of `by`: what a mode costs at the median and what in the tail."""
    points = ladder(frame, by, value)
    order = [_percent(percentile) for percentile in LADDER]
    chart: alt.Chart = (
        alt.Chart(points)
        .mark_line(point=True)
        .encode(
            x=alt.X("percentile:N", sort=order, title="percentile of requests", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("value:Q", title=f"{_words(value)}, log scale", scale=alt.Scale(type="log")),
            color=alt.Color("group:N", title=_words(by), scale=_COLOUR),
            shape=alt.Shape("group:N", title=_words(by)),
            tooltip=["group:N", "percentile:N", alt.Tooltip("value:Q", title="ms", format=".3f")],
        )
        .properties(width=_WIDTH, height=_HEIGHT, title=f"Latency by {_words(by)}")
    )
    return chart


def ladder(frame: pd.DataFrame, by: str, value: str) -> pd.DataFrame:
    """group, percentile (`p50`), value; percentiles that a group has too few requests for are left out."""
    rows = []
    groups = pd.DataFrame({"group": _labels(frame, by), "value": frame[value].astype("Float64")})
    for name, group in groups.dropna(subset=["value"]).groupby("group", observed=True):
        for percentile in LADDER:
            if len(group) * (100 - percentile) >= 100 or percentile == LADDER[0]:
                quantile = float(group["value"].astype("float64").quantile(percentile / 100))
                rows.append((str(name), _percent(percentile), quantile))
    return pd.DataFrame(rows, columns=["group", "percentile", "value"])


def edge_heatmap(edges: pd.DataFrame, *, value: str = "rate") -> alt.LayerChart:
    """Callers against servers, coloured by a column of the edges (`rate`, `p99_ms`, `error_share`, `denied`, ...)."""
    cells = pd.DataFrame(
        {
            "source": _place(edges, "source"),
            "destination": _place(edges, "destination"),
            "value": edges[value].astype("Float64").astype("float64"),
            "requests": edges["requests"].astype("Int64").astype("float64"),
        }
    ).dropna(subset=["value"])
    cells = cells.nlargest(MAX_ROWS, "requests")
    base = alt.Chart(cells).encode(
        x=alt.X("destination:N", title="called", axis=alt.Axis(labelAngle=-40)), y=alt.Y("source:N", title="caller")
    )
    middle = float(cells["value"].max()) / 2 if len(cells) else 0.0
    boxes = base.mark_rect().encode(
        color=alt.Color("value:Q", title=_words(value), scale=alt.Scale(scheme="viridis")),
        tooltip=["source:N", "destination:N", alt.Tooltip("value:Q", title=_words(value), format=".3g"), "requests:Q"],
    )
    words = base.mark_text(fontSize=11).encode(
        text=alt.Text("value:Q", format=".3~g"),
        color=alt.condition(alt.datum["value"] > middle, alt.value("black"), alt.value("white")),
    )
    chart: alt.LayerChart = (boxes + words).properties(title=f"Who calls whom: {_words(value)}")
    return chart


def canary_split(split: pd.DataFrame, weights: Mapping[str, float] | None = None) -> alt.LayerChart:
    """Bars of where requests went, from `telemetry.queries.split` (destination_workload, percent); with `weights` of
    the route a tick at what was asked for."""
    shares = split[["destination_workload", "percent"]].astype({"percent": "float64"}).head(MAX_ROWS)
    total = sum(weights.values()) if weights else 0
    wanted = pd.DataFrame(
        [(name, 100 * weight / total) for name, weight in (weights or {}).items() if total],
        columns=["destination_workload", "wanted"],
    )
    y = alt.Y("destination_workload:N", title=None)
    axis = alt.X("percent:Q", title="requests in %", scale=alt.Scale(domain=[0, 100]))
    colour = alt.Color("destination_workload:N", scale=_COLOUR, legend=None)
    base = alt.Chart(shares).encode(x=axis, y=y)
    bars = base.mark_bar(height=22).encode(color=colour, tooltip=["destination_workload:N", "percent:Q"])
    words = base.mark_text(align="left", dx=4).encode(text=alt.Text("percent:Q", format=".1f"))
    ticks = alt.Chart(wanted).mark_tick(color="black", thickness=3, height=32).encode(x="wanted:Q", y=y)
    title = "Split of requests (tick: weight of the route)" if total else "Split of requests"
    height = 60 + 40 * len(shares)
    chart: alt.LayerChart = (bars + words + ticks).properties(width=_WIDTH, height=height, title=title)
    return chart


def rate_over_time(flows: pd.DataFrame, *, every: str = "1s", reporter: str = "source") -> alt.VConcatChart:
    """Requests per second by destination, and below it errors and refusals per second, on one time axis."""
    rates = queries.over_time(flows, every=every, reporter=reporter)
    busiest = rates.groupby("destination_workload")["rate"].sum().nlargest(len(PALETTE)).index
    rates = rates[rates["destination_workload"].isin(busiest)]
    seconds = max(MAX_ROWS // max(2 * len(busiest), 1), 1)
    rates = rates[rates["time"].isin(sorted(rates["time"].unique())[-seconds:])]
    figures = ["rate", "error_rate", "denied_rate"]
    rates = rates.astype(dict.fromkeys(figures, "float64"))
    time = alt.X("time:T", title="time (UTC)", scale=alt.Scale(type="utc"))
    colour = alt.Color("destination_workload:N", title="destination", scale=_COLOUR)
    top = alt.Chart(rates).mark_line().encode(x=time, y=alt.Y("rate:Q", title="requests/s"), color=colour)
    wrong = rates.melt(["time", "destination_workload"], figures[1:], var_name="what", value_name="per_s")
    names = alt.Legend(title="not served", labelExpr="datum.label == 'error_rate' ? 'errors' : 'denied'")
    bottom = alt.Chart(wrong).mark_line().encode(
        x=time, y=alt.Y("per_s:Q", title="errors, denied/s"), color=colour,
        strokeDash=alt.StrokeDash("what:N", legend=names),
    )  # fmt: skip
    return alt.vconcat(
        top.properties(width=_WIDTH, height=_HEIGHT * 2 // 3, title="Requests per second"),
        bottom.properties(width=_WIDTH, height=_HEIGHT // 3),
    )


def save(chart: alt.TopLevelMixin, path: str | Path, *, scale: float = 2.0) -> Path:
    """Write a chart as .png, .svg, .html (self-contained) or .json, by the name's ending. Gives the path."""
    import vl_convert as vlc

    target = Path(path)
    spec = chart.to_json()
    if target.suffix == ".png":
        target.write_bytes(vlc.vegalite_to_png(spec, scale=scale))
    elif target.suffix == ".svg":
        target.write_text(vlc.vegalite_to_svg(spec))
    elif target.suffix == ".html":
        target.write_text(vlc.vegalite_to_html(spec, bundle=True))
    elif target.suffix == ".json":
        target.write_text(spec)
    else:
        raise MeshlabError(f"cannot save a chart as {target.name}", hint="name it .png, .svg, .html or .json")
    return target


def _of(frame: pd.DataFrame, reporter: str) -> pd.DataFrame:
    """A frame without the column (a traffic result) is taken whole."""
    if not reporter or "reporter" not in frame.columns:
        return frame
    return frame[(frame["reporter"] == reporter).fillna(False)]


def _labels(frame: pd.DataFrame, by: str) -> pd.Series[str]:
    return frame[by].astype("string").fillna("(none)")


def _place(edges: pd.DataFrame, end: str) -> pd.Series[str]:
    namespace, workload = edges[f"{end}_namespace"].astype("string"), edges[f"{end}_workload"].astype("string")
    return (namespace + "/" + workload).fillna(workload).fillna("(outside)")


def _percent(percentile: float) -> str:
    return f"p{percentile:g}"


def _words(column: str) -> str:
    """`latency_ms` is "latency (ms)"."""
    units = {"ms": "ms", "s": "s", "bytes": "bytes"}
    name, _, unit = column.rpartition("_")
    special = {"rate": "requests/s", "mtls_share": "mTLS share"}
    if column in special:
        return special[column]
    return f"{name.replace('_', ' ')} ({units[unit]})" if name and unit in units else column.replace("_", " ")
