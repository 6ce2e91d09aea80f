"""Charts: right numbers, bounded data, valid Vega-Lite, files without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from meshlab.errors import MeshlabError
from meshlab.telemetry import frames
from meshlab.workbench import charts
from tests.telemetry.events import event

LATENCY = np.random.default_rng(3).lognormal(1, 1, 601)
FLOWS = frames.flows_frame(
    event(i / 50, reporter, latency_ms=LATENCY[i] * scale, destination_workload=name)
    for i in range(601)
    for reporter, scale in (("source", 1), ("destination", 100))
    for name in ("v1", "v2")
)
FRAMES = {
    "two lines": FLOWS,
    "nothing": FLOWS.head(0),
    "one request": frames.flows_frame([event()]),
    "no latency": frames.flows_frame([event(latency_ms=None)]),
    "a latency of 0": frames.flows_frame([event(latency_ms=0.0), event(1)]),
    "300 workloads": frames.flows_frame(event(i, destination_workload=f"w-{i % 300}") for i in range(900)),
}


def rows(chart: alt.Chart) -> list[dict[str, Any]]:
    """What leaves the kernel with a chart."""
    return [row for dataset in json.loads(chart.to_json()).get("datasets", {}).values() for row in dataset]


@pytest.mark.parametrize("name", FRAMES)
def test_is_valid_bounded_and_drawn(name: str, tmp_path: Path) -> None:
    chart = charts.latency_ecdf(FRAMES[name])
    spec = chart.to_dict(validate=True)
    assert spec["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
    assert len(rows(chart)) <= charts.MAX_ROWS
    charts.save(chart, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_the_lines_are_the_distributions_of_what_the_source_saw() -> None:
    for name in ("v1", "v2"):
        line = [row for row in rows(charts.latency_ecdf(FLOWS)) if row["destination_workload"] == name]
        assert len(line) == 200
        assert [row["share"] for row in line] == sorted(row["share"] for row in line)
        assert line[-1]["share"] == 1.0
        for row in line:
            assert row["latency_ms"] == pytest.approx(np.quantile(LATENCY, row["share"]))


def test_every_workload_keeps_a_line_where_there_are_many() -> None:
    found = rows(charts.latency_ecdf(FRAMES["300 workloads"]))
    assert len({row["destination_workload"] for row in found}) == 300


def test_other_columns_can_tell_the_lines_apart() -> None:
    chart = charts.latency_ecdf(FLOWS, by="source_pod")
    assert {row["source_pod"] for row in rows(chart)} == {"web-1"}


def test_axes_say_their_unit_and_colours_are_safe() -> None:
    encoding = charts.latency_ecdf(FLOWS).to_dict()["encoding"]
    assert encoding["x"]["title"] == "latency (ms)"
    assert encoding["color"]["scale"]["range"] == charts.PALETTE
    assert len(set(charts.PALETTE)) == 8


def test_an_axis_of_logarithms_gets_no_0() -> None:
    assert min(row["latency_ms"] for row in rows(charts.latency_ecdf(FRAMES["a latency of 0"]))) > 0


def test_the_frame_is_left_as_it_was() -> None:
    before = FLOWS.copy()
    charts.latency_ecdf(FLOWS)
    pd.testing.assert_frame_equal(FLOWS, before)


def test_files_are_made_where_there_is_no_network_at_all(tmp_path: Path) -> None:
    spec = tmp_path / "chart.json"
    spec.write_text(charts.latency_ecdf(FLOWS).to_json())
    code = (
        "import sys; from pathlib import Path; import altair as alt; from meshlab.workbench import charts\n"
        "chart = alt.Chart.from_json(Path(sys.argv[1]).read_text())\n"
        "for ending in ('png', 'svg', 'html'): charts.save(chart, Path(sys.argv[1]).with_suffix('.' + ending))"
    )
    subprocess.run(["unshare", "--net", sys.executable, "-c", code, str(spec)], check=True)
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")
    page = (tmp_path / "chart.html").read_text()
    assert "vega" in page
    assert "<script src=" not in page


def test_notebooks_draw_without_a_network() -> None:
    assert alt.renderers.active == "jupyter"
    assert alt.renderers.options["offline"] is True


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshlabError, match=r"\.png, \.svg, \.html"):
        charts.save(charts.latency_ecdf(FLOWS), tmp_path / "chart.bmp")
