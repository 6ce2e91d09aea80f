"""Frames: columns and types of the schema, versions by ACK, edges counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from meshlab.runtimes.base import ResourceSample
from meshlab.telemetry import frames
from meshlab.telemetry.events import FlowEvent
from meshlab.telemetry.schema import FLOWS
from tests.telemetry.events import SECOND, START, event

ACKS = [
    {"namespace": "shop", "pod": "web-1", "time_ns": START + 5 * SECOND, "version": "b"},
    {"namespace": "shop", "pod": "web-1", "time_ns": START + 1 * SECOND, "version": "a"},
    {"namespace": "shop", "pod": "ratings-1", "time_ns": START + 2 * SECOND, "version": "c"},
    {"namespace": "other", "pod": "web-1", "time_ns": START, "version": "x"},
]


@pytest.mark.parametrize("acks", [[], ACKS], ids=["no acks", "acks"])
@pytest.mark.parametrize("events", [[], [event(), event(1, status=None, mtls=None, rule=2)]], ids=["none", "two"])
def test_flows_have_exactly_the_schemas_columns_and_types(events: list[FlowEvent], acks: list[dict[str, Any]]) -> None:
    frame = frames.flows_frame(events, acks)
    assert [(name, str(dtype)) for name, dtype in frame.dtypes.items()] == [(c.name, c.dtype) for c in FLOWS]
    assert len(frame) == len(events)


def test_what_is_not_known_is_missing_and_what_is_0_is_0() -> None:
    [row] = frames.flows_frame([event(status=None, mtls=None, rule=0, retries=0, source_workload=None)]).to_dict(
        "records"
    )
    assert all(pd.isna(row[name]) for name in ("status", "mtls", "path", "rtt_ms", "source_workload", "config_version"))
    assert (row["rule"], row["retries"]) == (0, 0)


def test_flows_are_ordered_by_time_in_utc_nanoseconds() -> None:
    frame = frames.flows_frame([event(2.000000001, path="/c"), event(1, path="/a"), event(1, path="/b")])
    assert [t.value for t in frame["time"]] == [START + SECOND, START + SECOND, START + 2 * SECOND + 1]
    assert frame["path"].tolist() == ["/a", "/b", "/c"]
    assert str(frame["time"].dt.tz) == "UTC"


def test_each_flow_gets_the_version_that_its_reporter_had_acknowledged_by_then() -> None:
    events = [event(at, reporter) for at in (0, 1, 4, 5, 9) for reporter in ("source", "destination")]
    frame = frames.flows_frame(events, ACKS)
    versions = {name: group["config_version"].fillna("-").tolist() for name, group in frame.groupby("reporter")}
    assert versions == {"source": ["-", "a", "a", "b", "b"], "destination": ["-", "-", "c", "c", "c"]}


def test_an_unnamed_reporter_does_not_stop_the_versions_of_others() -> None:
    frame = frames.flows_frame([event(1), event(2, "destination", destination_pod=None)], ACKS)
    assert frame["config_version"].fillna("-").tolist() == ["a", "-"]


def test_a_row_counts_as_often_as_it_stands_for() -> None:
    many = [event(0, count=99, latency_ms=1.0, mtls=True), event(1, count=1, latency_ms=50.0, status=503, mtls=False)]
    [edge] = edges(many)
    assert (edge["requests"], edge["error_share"], edge["mtls_share"]) == (100, 0.01, 0.99)
    assert (edge["p50_ms"], edge["p90_ms"]) == (1.0, 1.0)


def edges(events: list[FlowEvent]) -> list[dict[str, Any]]:
    return list(frames.edges_frame(frames.flows_frame(events)).to_dict("records"))


def test_an_edge_is_counted_once_though_both_ends_report_it() -> None:
    latency = np.random.default_rng(7).lognormal(1, 1, 101)
    events = [event(i / 10, r, latency_ms=latency[i]) for i in range(101) for r in ("source", "destination")]
    events += [event(3, "destination", latency_ms=9e9)]
    [edge] = edges(events)
    assert (edge["source_workload"], edge["destination_workload"]) == ("web", "ratings")
    assert (edge["requests"], edge["error_share"], edge["denied"], edge["mtls_share"]) == (101, 0, 0, 1.0)
    assert edge["rate"] == pytest.approx(10.1)
    for name, percent in (("p50_ms", 50), ("p90_ms", 90), ("p99_ms", 99)):
        assert edge[name] == pytest.approx(np.percentile(latency, percent))


def test_errors_are_what_failed_and_5xx_and_refusals_are_counted_apart() -> None:
    events = [
        event(0),
        event(1, status=503),
        event(2, status=None, verdict="failed", reason="upstream_connect_failed"),
        event(4, status=403),
        event(4, "destination", status=403, verdict="denied", reason="policy_deny"),
    ]
    [edge] = edges(events)
    assert (edge["requests"], edge["error_share"], edge["denied"]) == (4, 0.5, 1)


def test_mtls_is_a_share_and_what_is_not_known_is_not_proven() -> None:
    [edge] = edges([event(0), event(1, mtls=False), event(2, mtls=None), event(3)])
    assert edge["mtls_share"] == 0.5


def test_a_caller_without_a_proxy_is_seen_by_the_server() -> None:
    plain = [event(i / 10, "destination", source_workload="stranger", mtls=False) for i in range(3)]
    [one, two] = edges([*plain, event(5)])
    assert (one["source_workload"], one["requests"], one["mtls_share"]) == ("stranger", 3, 0.0)
    assert (two["source_workload"], two["requests"]) == ("web", 1)


def test_rows_that_stand_for_many_count_as_many() -> None:
    [edge] = edges([event(0, count=7), event(1, count=4)])
    assert edge["requests"] == 11


def test_what_has_no_known_end_is_no_edge() -> None:
    assert edges([event(destination_workload=None), event(source_workload=None)]) == []


def test_paths_of_one_kind_have_one_template() -> None:
    found = frames.flows_frame([event(path=path) for path in ("/items/1", "/items/2", None)])["path_template"]
    assert found.dropna().tolist() == ["/items/{id}"] * 2
    assert found.isna().sum() == 1


def test_edges_of_nothing_have_their_columns() -> None:
    assert list(frames.edges_frame(frames.flows_frame([])).columns) == [
        "source_namespace", "source_workload", "destination_namespace", "destination_workload", "requests", "rate",
        "error_share", "denied", "p50_ms", "p90_ms", "p99_ms", "mtls_share",
    ]  # fmt: skip


PROXY = {
    "namespace": "shop", "pod": "web-1", "node": "node-1", "connected": True, "wanted_version": "b",
    "acked_version": "b", "wanted_at_ns": START, "acked_at_ns": START + 7_000_000, "nack": "", "nack_at_ns": 0,
    "nacks": 0, "since_ns": START, "rows_written": 5, "rows_dropped": 0, "rows_received": 5,
}  # fmt: skip


def test_proxies_say_whether_and_how_fast_they_are_in_step() -> None:
    behind = {**PROXY, "acked_version": "a", "nack": "no such cluster", "nack_at_ns": START, "rows_written": None}
    frame = frames.proxies_frame([PROXY, behind])
    assert frame["synced"].tolist() == [True, False]
    assert frame["ack_ms"].fillna(-1).tolist() == [7.0, -1]
    assert frame["nack_at"].isna().tolist() == [True, False]
    assert frame["wanted_at"][0].value == START
    assert frame["rows_written"].fillna(-1).tolist() == [5, -1]
    assert not [name for name in frame.columns if name.endswith("_ns")]


def test_identities_have_times_in_utc() -> None:
    row = {"namespace": "shop", "pod": "web-1", "service_account": "web", "spiffe_id": "spiffe://c/ns/s/sa/w",
           "serial": "ff", "not_before": "2026-01-01T00:00:00+00:00", "not_after": "2026-01-02T01:00:00+01:00",
           "issued_at_ns": START, "acked": True}  # fmt: skip
    [found] = frames.identities_frame([row]).to_dict("records")
    assert str(found["not_after"]) == "2026-01-02 00:00:00+00:00"
    assert found["issued_at"].value == START


def test_resources_keep_zeros() -> None:
    [row] = frames.resources_frame([ResourceSample("control-plane", "", "", "", 1, 0.0, 0, 7)]).to_dict("records")
    assert (row["part"], row["pids"], row["cpu_s"], row["pss_bytes"], row["rss_bytes"]) == ("control-plane", 1, 0, 0, 7)


def test_frames_of_nothing_have_the_columns_of_frames_of_something() -> None:
    sample = ResourceSample("application", "shop", "web-1", "node-1", 1, 0.5, 1, 2)
    identity = {"namespace": "", "pod": "", "service_account": "", "spiffe_id": "", "serial": "",
                "not_before": "2026-01-01", "not_after": "2026-01-02", "issued_at_ns": 1, "acked": True}  # fmt: skip
    event_row = {"time_ns": 1, "namespace": "", "pod": "", "kind": "ack", "type": "", "version": "", "error": ""}
    for build, row in (
        (frames.proxies_frame, PROXY),
        (frames.identities_frame, identity),
        (frames.resources_frame, sample),
        (frames.config_events_frame, event_row),
    ):
        assert list(build([]).columns) == list(build([row]).columns)  # type: ignore[operator]
