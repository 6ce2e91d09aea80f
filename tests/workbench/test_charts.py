"""Charts: right numbers, bounded data, units in the titles, files without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest

from meshlab.errors import MeshlabError
from meshlab.telemetry import frames, queries
from meshlab.workbench import charts
from tests.telemetry.test_frames import event

FLOWS = frames.flows_frame(
    [
        event(i / 50, r, latency_ms=1 + i / 10, destination_workload=("v1" if i % 10 else "v2"))
        for i in range(311)
        for r in ("source", "destination")
    ]
)  # fmt: skip
MANY = pd.DataFrame({"mode": ["none", "sidecar"] * 15_000, "latency_ms": [0.1 + i / 1000 for i in range(30_000)]})

CHARTS: dict[str, Callable[[], Any]] = {
    "ecdf": lambda: charts.latency_ecdf(FLOWS),
    "ecdf of a traffic result": lambda: charts.latency_ecdf(MANY, by="mode"),
    "ladder": lambda: charts.latency_ladder(MANY),
    "heatmap": lambda: charts.edge_heatmap(frames.edges_frame(FLOWS)),
    "heatmap of latency": lambda: charts.edge_heatmap(frames.edges_frame(FLOWS), value="p99_ms"),
    "split": lambda: charts.canary_split(queries.split(FLOWS, "ratings"), {"v1": 90, "v2": 10}),
    "split without weights": lambda: charts.canary_split(queries.split(FLOWS, "ratings")),
    "rates": lambda: charts.rate_over_time(FLOWS),
    "nothing": lambda: charts.latency_ecdf(FLOWS.head(0)),
    "no edges": lambda: charts.edge_heatmap(frames.edges_frame(FLOWS.head(0))),
    "no rates": lambda: charts.rate_over_time(FLOWS.head(0)),
    "no split": lambda: charts.canary_split(queries.split(FLOWS, "other")),
}


@pytest.mark.parametrize("name", CHARTS)
def test_is_drawn_and_holds_at_most_5000_rows(name: str, tmp_path: Path) -> None:
    chart = CHARTS[name]()
    spec = json.loads(chart.to_json())
    assert max((len(rows) for rows in spec.get("datasets", {}).values()), default=0) <= charts.MAX_ROWS
    assert charts.save(chart, tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_the_ecdf_has_the_callers_rows_only_and_ends_at_one() -> None:
    points = charts.ecdf(FLOWS[FLOWS["reporter"] == "source"], "destination_workload", "latency_ms")
    assert points.groupby("group").size().to_dict() == {"v1": 279, "v2": 32}
    assert points.groupby("group")["share"].max().tolist() == [1.0, 1.0]
    drawn = json.loads(charts.latency_ecdf(FLOWS).to_json())
    assert sum(len(rows) for rows in drawn["datasets"].values()) == 311


def test_a_thinned_ecdf_keeps_its_ends_and_its_shape() -> None:
    points = charts.ecdf(MANY, "mode", "latency_ms")
    assert len(points) == charts.MAX_ROWS
    sidecar = points[points["group"] == "sidecar"]
    assert (sidecar["value"].min(), sidecar["value"].max()) == (pytest.approx(0.101), pytest.approx(30.099))
    middle = sidecar[sidecar["share"] <= 0.5]["value"].max()
    assert middle == pytest.approx(15.1, rel=0.01)


def test_the_ladder_leaves_out_percentiles_of_too_few_requests() -> None:
    few = charts.ladder(MANY.head(40), "mode", "latency_ms")
    assert set(few["percentile"]) == {"p50", "p75", "p90", "p95"}
    many = charts.ladder(MANY, "mode", "latency_ms")
    assert set(many["percentile"]) == {"p50", "p75", "p90", "p95", "p99", "p99.9"}


def test_titles_carry_units() -> None:
    assert charts.latency_ecdf(FLOWS).to_dict()["encoding"]["x"]["title"] == "latency (ms), log scale"
    text = charts.edge_heatmap(frames.edges_frame(FLOWS), value="rate").to_json()
    assert "requests/s" in text


def test_html_holds_all_it_needs(tmp_path: Path) -> None:
    text = charts.save(charts.latency_ecdf(FLOWS), tmp_path / "chart.html").read_text()
    assert "<script src=" not in text
    assert "cdn" not in text.split("<body", 1)[0][:2000].lower()
    assert charts.save(charts.latency_ecdf(FLOWS), tmp_path / "chart.svg").read_text().startswith("<svg")
    with pytest.raises(MeshlabError, match=r"\.png"):
        charts.save(charts.latency_ecdf(FLOWS), tmp_path / "chart.bmp")


def test_notebooks_draw_without_a_network() -> None:
    with alt.renderers.enable("default"):
        charts.offline()
        assert alt.renderers.active == "jupyter"
        assert alt.renderers.options["offline"] is True
