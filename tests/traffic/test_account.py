"""What a result says of itself: percentiles from the histogram, and whether its generator can be believed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from meshlab.traffic import results
from meshlab.traffic.generator import ERRORS, MAGIC, RECORD
from meshlab.traffic.spec import TrafficSpec

SECOND = 1_000_000_000


def record(path: Path, generator: dict[str, Any] | None, *, late_ns: int = 0) -> Path:
    """Ten requests of one second, as the generator writes them."""
    spec = TrafficSpec("http://a/", rate=10.0, duration_s=1.0)
    head = {**json.loads(spec.to_json()), **({"generator": generator} if generator is not None else {})}
    due = [SECOND + index * SECOND // 10 for index in range(10)]
    rows = [RECORD.pack(at, at + late_ns, 2_000_000, 200, 0, 5, b"t" * 16) for at in due]
    path.write_bytes(MAGIC + json.dumps(head).encode() + b"\n" + b"".join(rows))
    return path


@pytest.mark.parametrize(
    ("generator", "late_ns", "why"),
    [
        (None, 0, ""),
        ({"cpu_share": 0.5, "unsent": 0}, 0, ""),
        ({"cpu_share": 0.97, "unsent": 0}, 0, "the generator was saturated: it used 97% of a CPU"),
        ({"cpu_share": 0.1, "unsent": 3}, 0, "3 requests were never sent: too many were in flight"),
        ({"cpu_share": 0.1, "unsent": 0}, 80_000_000, "the generator was late by up to 80 ms"),
    ],
)
def test_a_result_is_valid_only_while_its_generator_kept_up(
    tmp_path: Path, generator: dict[str, Any] | None, late_ns: int, why: str
) -> None:
    summary = results.read(record(tmp_path / "r", generator, late_ns=late_ns)).summary
    assert (summary["valid"], summary["why_invalid"]) == (not why, why)
    assert summary["generator"]["late_ms"] == late_ns / 1e6
    assert (summary["loop"], summary["sent"], summary["ok"]) == ("open", 10, 10)


def test_percentiles_are_those_of_the_values_to_three_digits_and_never_above_the_maximum() -> None:
    random.seed(4)
    values = pd.Series([random.expovariate(1 / 5000) for _ in range(20_000)])
    found = results.percentiles(values)
    for point in (50, 90, 99):
        exact = values.quantile(point / 100, interpolation="higher") / 1000
        assert found[f"p{point}"] == pytest.approx(exact, rel=0.002)
    assert results.percentiles(pd.Series([1_234_567.0])) == dict.fromkeys(("p50", "p90", "p99", "max"), 1234.567)
    assert results.percentiles(pd.Series([], dtype=float))["p99"] is None


def test_the_errors_keep_their_numbers() -> None:
    assert ERRORS == ("", "timeout", "connect", "reset", "dns", "protocol")
