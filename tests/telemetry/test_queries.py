"""Queries against frames small enough to count by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from meshlab.telemetry import frames, queries
from tests.telemetry.test_frames import event


def test_split_counts_what_the_callers_chose() -> None:
    events = [
        event(i, r, destination_workload="v1" if i % 10 else "v2") for i in range(50) for r in ("source", "destination")
    ]
    events.append(event(60, destination_workload=None, verdict="failed"))
    frame = queries.split(frames.flows_frame(events), "ratings", namespace="shop", source="web")
    assert frame.to_dict("records") == [
        {"destination_workload": "v1", "requests": 45, "percent": pytest.approx(90.0)},
        {"destination_workload": "v2", "requests": 5, "percent": pytest.approx(10.0)},
    ]
    assert queries.split(frames.flows_frame(events), "other").empty


def test_routes_are_split_each_on_its_own() -> None:
    events = [event(i, route="shop/a#0", destination_workload="v1" if i else "v2") for i in range(4)]
    events += [event(9, route="shop/b#0")]
    frame = queries.by_route(frames.flows_frame(events)).set_index(["route", "destination_workload"])
    assert frame["percent"].to_dict() == {("shop/a#0", "v1"): 75, ("shop/a#0", "v2"): 25, ("shop/b#0", "ratings"): 100}


def test_denied_calls_are_listed_with_policy_and_rule() -> None:
    refused = {"verdict": "denied", "reason": "policy_deny", "policy": "shop/p", "rule": 1, "path": "/x"}
    events = [event(i, "destination", **refused) for i in range(3)]
    events += [
        event(5, "destination", **refused | {"reason": "no_allow_match", "policy": None, "rule": None}),
        event(6),
    ]
    frame = queries.denied(frames.flows_frame(events))
    assert frame["requests"].tolist() == [3, 1]
    assert frame.loc[0, ["policy", "rule", "path"]].tolist() == ["shop/p", 1, "/x"]
    assert pd.isna(frame.loc[1, "policy"])


def test_a_backend_that_fails_and_then_gets_no_calls_was_ejected() -> None:
    broken = [event(i / 10, destination_pod="bad-1", destination_workload="bad", status=503) for i in range(5)]
    good = [event(i / 10) for i in range(60)]
    [found] = queries.ejections(frames.flows_frame(broken + good)).to_dict("records")
    assert (found["destination_pod"], found["errors"], found["calls_after"]) == ("bad-1", 5, 55)
    assert queries.ejections(frames.flows_frame(good)).empty
    assert queries.ejections(frames.flows_frame([])).empty


def test_rates_over_time_have_no_holes() -> None:
    events = [event(0), event(0.1), event(3, status=500), event(3, "destination")]
    frame = queries.over_time(frames.flows_frame(events))
    assert frame["rate"].tolist() == [2, 0, 0, 1]
    assert frame["error_rate"].tolist() == [0, 0, 0, 1]
    assert queries.over_time(frames.flows_frame([])).empty
