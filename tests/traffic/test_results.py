"""Results: percentiles against numpy, counts, and when a result is not valid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meshlab.errors import MeshlabError
from meshlab.traffic import results
from meshlab.traffic.generator import ERRORS, MAGIC, RECORD
from meshlab.traffic.spec import TrafficSpec

START = 1_795_488_413_000_000_000
Row = tuple[float, float, float, int, str]


def result(tmp_path: Path, rows: list[Row], rate: float = 100.0) -> results.Result:
    """Of rows of due and sent (s), latency (ms), status, error."""
    spec = TrafficSpec("http://ratings/", rate, max(1.0, len(rows) / rate))
    path = tmp_path / "records"
    packed = (
        RECORD.pack(
            START + round(due * 1e9),
            START + round(sent * 1e9),
            round(ms * 1e6),
            status,
            ERRORS.index(error),
            7,
            bytes(15) + b"\x01",
        )
        for due, sent, ms, status, error in rows
    )
    path.write_bytes(MAGIC + spec.to_json().encode() + b"\n" + b"".join(packed))
    return results.read(path)


def even(count: int, rate: float = 100.0, latency_ms: float = 1.0, late_s: float = 0.0) -> list[Row]:
    return [(i / rate, i / rate + late_s, latency_ms, 200, "") for i in range(count)]


def test_percentiles_are_those_of_numpy_to_three_digits(tmp_path: Path) -> None:
    latency = np.random.default_rng(5).lognormal(1.0, 1.2, 10_007)
    rows = [(i / 100, i / 100, ms, 200, "") for i, ms in enumerate(latency)]
    found = result(tmp_path, rows).summary["latency_ms"]
    for name, percent in (("p50", 50), ("p90", 90), ("p99", 99)):
        assert found[name] == pytest.approx(np.percentile(latency, percent, method="inverted_cdf"), rel=0.002)
    assert found["max"] == pytest.approx(latency.max(), abs=0.001)


def test_counts_add_up(tmp_path: Path) -> None:
    rows = even(11)
    for at, (status, error) in {1: (404, ""), 2: (503, ""), 3: (302, ""), 5: (0, "timeout"), 7: (0, "reset")}.items():
        rows[at] = (*rows[at][:3], status, error)
    found = result(tmp_path, rows)
    summary = found.summary
    assert (summary["sent"], summary["ok"], summary["failed"]) == (11, 7, 4)
    assert summary["status"] == {"200": 6, "302": 1, "404": 1, "503": 1}
    assert summary["errors"] == {"reset": 1, "timeout": 1}
    assert sum(summary["status"].values()) + sum(summary["errors"].values()) == summary["sent"]
    assert len(found.frame) == 11


def test_the_frame_has_a_row_per_request_in_utc_and_ms(tmp_path: Path) -> None:
    [row] = result(tmp_path, [(0.5, 0.501, 12.5, 200, "")]).frame.to_dict("records")
    assert set(row) == {"scheduled", "sent", "latency_ms", "status", "error", "body_bytes", "trace_id"}
    assert row["scheduled"].value == START + 500_000_000
    assert str(row["sent"].tz) == "UTC"
    assert (row["latency_ms"], row["body_bytes"], row["trace_id"]) == (12.5, 7, "0" * 31 + "1")


def test_what_was_sent_on_time_is_valid(tmp_path: Path) -> None:
    summary = result(tmp_path, even(101)).summary
    assert (summary["valid"], summary["why_invalid"]) == (True, "")
    assert (summary["rate_target"], summary["rate_achieved"]) == (100.0, 100.0)


def test_a_generator_that_is_too_slow_is_not_valid(tmp_path: Path) -> None:
    """Sent at 95 a second where 100 were due: the answers are right, the load is not the one that was asked for."""
    rows = [(due, due + i * 0.0005, ms, status, error) for i, (due, _, ms, status, error) in enumerate(even(101))]
    summary = result(tmp_path, rows).summary
    assert summary["rate_achieved"] == pytest.approx(95.2, abs=0.1)
    assert not summary["valid"]
    assert "achieved 95.2 of 100.0 requests/s" in summary["why_invalid"]


def test_a_generator_that_was_late_once_is_not_valid(tmp_path: Path) -> None:
    rows = even(101)
    rows[50] = (0.5, 0.56, 1.0, 200, "")
    summary = result(tmp_path, rows).summary
    assert not summary["valid"]
    assert "late by up to 60 ms" in summary["why_invalid"]
    rows[50] = (0.5, 0.54, 1.0, 200, "")
    assert result(tmp_path, rows).summary["valid"]


def test_one_request_is_a_result_too(tmp_path: Path) -> None:
    summary = result(tmp_path, even(1)).summary
    assert (summary["sent"], summary["ok"], summary["valid"]) == (1, 1, True)


@pytest.mark.parametrize("error", ["connect", "dns"])
def test_where_nothing_ever_connected_there_is_no_result(tmp_path: Path, error: str) -> None:
    with pytest.raises(MeshlabError, match=rf"no request to http://ratings/ ever connected \({error}\)") as caught:
        result(tmp_path, [(0, 0, 1.0, 0, error)] * 3)
    assert "meshlab get services" in caught.value.hint


def test_some_that_did_not_connect_are_a_result(tmp_path: Path) -> None:
    assert result(tmp_path, [*even(2), (0.02, 0.02, 1.0, 0, "connect")]).summary["errors"] == {"connect": 1}
