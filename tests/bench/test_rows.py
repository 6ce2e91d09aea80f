"""What a figure is, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshlab.bench import rows


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    row = rows.of_rounds("c", "sidecar", "l", "p50", "ms", [2.0, 9.0, 4.0], [1.0, 3.0, 4.0])
    assert (row.value, row.direct, row.ratio, row.rounds) == (4.0, 3.0, 2.0, 3)
    assert row.spread == pytest.approx(7 / 4)


def test_one_round_has_no_spread_and_no_mesh_no_ratio() -> None:
    row = rows.of_rounds("c", "none", "l", "p50", "ms", [2.0])
    assert (row.spread, row.direct, row.ratio) == (None, None, None)


def test_what_is_written_is_a_list_of_rows_with_the_facts_of_the_machine(tmp_path: Path) -> None:
    rows.write([rows.Row("case", "mode", "load", "metric", 1.5, "ms")], tmp_path / "results.json")
    [row] = json.loads((tmp_path / "results.json").read_text())
    names = {"case", "mode", "load", "metric", "value", "unit", "direct", "ratio", "rounds", "spread", "machine"}
    assert row.keys() == names
    assert row["machine"]["cores"] >= 1
