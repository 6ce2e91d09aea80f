"""Frames: columns and types of the schema, versions by ACK, edges counted by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest

from meshlab.runtimes.base import ResourceSample
from meshlab.telemetry import frames, schema
from meshlab.telemetry.events import FlowEvent

SECOND = 1_000_000_000
START = 1_795_488_413 * SECOND


def event(at: float = 0.0, reporter: str = "source", **fields: Any) -> FlowEvent:
    base = FlowEvent(
        time=START + int(at * SECOND), kind="request", plane="sidecar", observer="envoy", reporter=reporter,
        protocol="http1", verdict="allowed", reason="ok", source_namespace="shop", source_workload="web",
        source_pod="web-1", destination_namespace="shop", destination_service="ratings",
        destination_workload="ratings", destination_pod="ratings-1", status=200, latency_ms=1.0, mtls=True,
    )  # fmt: skip
    return dataclasses.replace(base, **fields)


def columns(name: str) -> list[str]:
    return [column.name for column in schema.FRAMES[name]]


def dtypes_agree(frame: pd.DataFrame, name: str) -> bool:
    return [str(dtype) for dtype in frame.dtypes] == [column.dtype for column in schema.FRAMES[name]]


def test_the_event_has_exactly_the_schemas_columns() -> None:
    assert {field.name for field in dataclasses.fields(FlowEvent)} == set(columns("flows"))


@pytest.mark.parametrize("events", [[], [event(), event(1, status=None, mtls=None, rule=2)]])
def test_flows_have_the_schemas_columns_and_types(events: list[FlowEvent]) -> None:
    frame = frames.flows_frame(events)
    assert list(frame.columns) == columns("flows")
    assert dtypes_agree(frame, "flows")
    assert len(frame) == len(events)


def test_what_is_not_known_is_missing() -> None:
    [row] = frames.flows_frame([event(status=None, mtls=None, source_workload=None)]).to_dict("records")
    assert all(pd.isna(row[name]) for name in ("status", "mtls", "path", "rtt_ms"))
    assert pd.isna(row["source_workload"])


def test_flows_are_ordered_by_time_in_utc_nanoseconds() -> None:
    frame = frames.flows_frame([event(2.000000001), event(1)])
    assert [t.value for t in frame["time"]] == [START + SECOND, START + 2 * SECOND + 1]
    assert str(frame["time"].dt.tz) == "UTC"


def test_each_flow_gets_the_version_that_its_reporter_had_then() -> None:
    acks = [
        {"namespace": "shop", "pod": "web-1", "time_ns": START + 5 * SECOND, "version": "b"},
        {"namespace": "shop", "pod": "web-1", "time_ns": START + 1 * SECOND, "version": "a"},
        {"namespace": "shop", "pod": "ratings-1", "time_ns": START + 2 * SECOND, "version": "c"},
    ]
    events = [event(at, reporter) for at in (0, 1, 4, 5, 9) for reporter in ("source", "destination")]
    frame = frames.flows_frame(events, acks)
    by_reporter = {name: group["config_version"].tolist() for name, group in frame.groupby("reporter")}
    assert pd.isna(by_reporter["source"][0])
    assert by_reporter["source"][1:] == ["a", "a", "b", "b"]
    assert pd.isna(by_reporter["destination"][:2]).all()
    assert by_reporter["destination"][2:] == ["c", "c", "c"]
    assert dtypes_agree(frame, "flows")


def test_an_unnamed_reporter_does_not_stop_the_versions_of_others() -> None:
    acks = [{"namespace": "shop", "pod": "web-1", "time_ns": START, "version": "a"}]
    frame = frames.flows_frame([event(1), event(2, "destination", destination_pod=None)], acks)
    assert frame["config_version"].tolist()[0] == "a"
    assert pd.isna(frame["config_version"].tolist()[1])


def test_an_edge_is_counted_once_though_both_ends_report_it() -> None:
    both = [event(i / 10, r, latency_ms=float(i + 1)) for i in range(101) for r in ("source", "destination")]
    [edge] = frames.edges_frame(frames.flows_frame(both)).to_dict("records")
    assert (edge["source_workload"], edge["destination_workload"], edge["reporter"]) == ("web", "ratings", "source")
    assert (edge["requests"], edge["errors"], edge["denied"], edge["mtls_share"]) == (101, 0, 0, 1.0)
    assert edge["rate"] == pytest.approx(10.1)
    assert (edge["p50_ms"], edge["p90_ms"], edge["p99_ms"]) == (51.0, 91.0, 100.0)


def test_errors_and_refusals_are_not_mixed_up() -> None:
    events = [
        event(0),
        event(1, status=503),
        event(2, verdict="failed", reason="upstream_connect_failed", status=503, destination_workload=None, mtls=None),
        event(3, protocol="grpc", grpc_status=14),
        event(4, status=403),
        event(4, "destination", status=403, verdict="denied", reason="policy_deny"),
    ]
    edges = frames.edges_frame(frames.flows_frame(events)).set_index("protocol")
    assert edges.loc["http1", ["requests", "errors", "denied"]].tolist() == [4, 2, 1]
    assert edges.loc["grpc", ["requests", "errors", "denied"]].tolist() == [1, 1, 0]
    assert edges.loc["http1", "mtls_share"] == 1.0


def test_callers_outside_the_mesh_are_an_edge_of_the_servers_rows() -> None:
    plain = event(0, "destination", source_namespace=None, source_workload=None, source_pod=None, mtls=False)
    [edge] = frames.edges_frame(frames.flows_frame([plain])).to_dict("records")
    assert pd.isna(edge["source_workload"])
    assert (edge["reporter"], edge["mtls_share"], edge["requests"]) == ("destination", 0.0, 1)


def test_edges_have_the_schemas_columns_and_types_also_without_flows() -> None:
    for events in ([], [event()]):
        frame = frames.edges_frame(frames.flows_frame(events))
        assert list(frame.columns) == columns("edges")
        assert dtypes_agree(frame, "edges")


def test_proxies_say_whether_and_how_fast_they_are_in_step() -> None:
    row = {"namespace": "shop", "pod": "web-1", "node": "node-1", "connected": True, "wanted_version": "b",
           "acked_version": "b", "wanted_at_ns": START, "acked_at_ns": START + 7_000_000, "nack": "", "nack_at_ns": 0,
           "nacks": 0, "since_ns": START}  # fmt: skip
    behind = row | {"acked_version": "a", "nack": "no such cluster", "nack_at_ns": START, "nacks": 1}
    frame = frames.proxies_frame([row, behind])
    assert dtypes_agree(frame, "proxies")
    assert frame["synced"].tolist() == [True, False]
    assert frame["lag_ms"].tolist()[0] == 7.0
    assert frame["lag_ms"].isna().tolist() == [False, True]
    assert frame["nack"].isna().tolist() == [True, False]
    assert frame["wanted_at"][0].value == START


def test_resources_keep_zeros_and_leave_out_empty_names() -> None:
    frame = frames.resources_frame([ResourceSample("control-plane", "", "", "", 1, 0.0, 0, 7)])
    assert dtypes_agree(frame, "resources")
    [row] = frame.to_dict("records")
    assert (row["part"], row["pids"], row["cpu_s"], row["pss_bytes"], row["rss_bytes"]) == (
        "control-plane",
        1,
        0.0,
        0,
        7,
    )
    assert pd.isna(row["pod"])


@pytest.mark.parametrize(
    "when", [START / SECOND, START, pd.Timestamp(START, unit="ns", tz="UTC").isoformat()], ids=["s", "ns", "text"]
)
def test_identities_take_times_in_any_form(when: object) -> None:
    rows = [{"namespace": "shop", "pod": "web-1", "service_account": "web", "spiffe_id": "spiffe://c/ns/s/sa/w",
             "serial": 255, "not_before": when, "not_after": "", "delivered_at_ns": 7, "acked": True}]  # fmt: skip
    frame = frames.identities_frame(rows)
    assert dtypes_agree(frame, "identities")
    assert frame["not_before"][0].value == START
    assert frame["serial"][0] == "ff"


def test_the_frames_of_nothing_have_all_columns() -> None:
    for name, empty in (("proxies", frames.proxies_frame([])), ("resources", frames.resources_frame([])),
                        ("identities", frames.identities_frame([]))):  # fmt: skip
        assert list(empty.columns) == columns(name)
        assert dtypes_agree(empty, name)


def test_the_schema_can_be_read_as_a_table() -> None:
    table = schema.table("flows")
    assert table["name"].tolist() == columns("flows")
    assert table["meaning"].str.len().min() > 3
    with pytest.raises(KeyError, match="edges"):
        schema.table("nothing")
