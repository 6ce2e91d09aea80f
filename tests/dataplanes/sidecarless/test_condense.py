"""Many events as few rows: no count and no byte is lost."""

from __future__ import annotations

import numpy as np

from meshlab.dataplanes.sidecarless import condense

RECORD = np.dtype(
    [(name, "<u4") for name in ("source_pod", "destination_pod", "source_identity", "destination_identity", "service")]
    + [(name, "<u4") for name in ("policy", "source_ip", "destination_ip", "setup_us", "rtt_us", "retransmits")]
    + [(name, "<u2") for name in ("source_port", "destination_port", "status")]
    + [(name, "u1") for name in ("kind", "verdict", "reason", "method", "end")]
    + [(name, "<u8") for name in ("time_ns", "connected_ns", "duration_ns", "request_bytes", "response_bytes")]
    + [("path", "S16"), ("authority", "S8"), ("trace_id", "u1", (16,))]
)


def many(count: int) -> np.ndarray:
    numbers = np.random.default_rng(7)
    events = np.zeros(count, RECORD)
    events["path"] = numbers.choice([b"/a", b"/b", b"/c"], count)
    events["status"] = numbers.choice([200, 503], count)
    events["source_port"] = numbers.integers(1024, 60000, count)
    events["duration_ns"] = numbers.lognormal(12, 1, count)
    events["response_bytes"] = numbers.integers(0, 10_000, count)
    events["time_ns"] = np.arange(count)
    return events


def test_what_is_alike_is_one_row_and_nothing_is_lost() -> None:
    events = many(10_007)
    found = condense.condensed(events)
    assert len(found) < 300
    assert found["count"].sum() == 10_007
    assert found["response_bytes"].sum() == events["response_bytes"].sum()
    for path in (b"/a", b"/b", b"/c"):
        for status in (200, 503):
            alike = (events["path"] == path) & (events["status"] == status)
            rows = (found["path"] == path) & (found["status"] == status)
            assert found["count"][rows].sum() == alike.sum()
    assert set(found["source_port"]) == {0}


def test_percentiles_stay_within_a_fifth() -> None:
    events = many(10_007)
    found = condense.condensed(events)
    again = np.repeat(found["duration_ns"], found["count"])
    for share in (0.5, 0.9, 0.99):
        assert abs(np.quantile(again, share) / np.quantile(events["duration_ns"], share) - 1) < 0.2


def test_few_stay_as_they_are() -> None:
    events = many(101)
    found = condense.each(events)
    assert set(found["count"]) == {1}
    assert all((found[name] == events[name]).all() for name in RECORD.names or ())
