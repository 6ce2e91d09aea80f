"""Events and rows to frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

import pandas as pd

from meshlab.model.wire import AGENT
from meshlab.telemetry.events import FlowEvent
from meshlab.telemetry.paths import template
from meshlab.telemetry.schema import FLOWS


def flows_frame(events: Iterable[FlowEvent], acks: Sequence[dict[str, Any]] = ()) -> pd.DataFrame:
    """One row per event, ordered by time, with the schema's columns and dtypes. `acks` (rows with namespace, pod,
    time_ns, version) give each row the version that its reporter had acknowledged by then."""
    names = [one.name for one in fields(FlowEvent) if one.name != "link"]
    rows = [[getattr(event, name) for name in names] for event in events]
    frame = pd.DataFrame(rows, columns=names)
    frame["path_template"] = frame["path"].map({path: template(path) for path in frame["path"].dropna().unique()})
    frame = frame.reindex(columns=[column.name for column in FLOWS])
    frame["time"] = pd.to_datetime(frame["time"], unit="ns", utc=True).dt.as_unit("ns")  # none at all would be seconds
    for column in FLOWS:
        if column.name != "time":
            frame[column.name] = frame[column.name].astype(pd.api.types.pandas_dtype(column.dtype))
    frame = frame.sort_values("time", kind="stable", ignore_index=True)
    return _with_versions(frame, acks)


def _with_versions(frame: pd.DataFrame, acks: Sequence[dict[str, Any]]) -> pd.DataFrame:
    if not acks or frame.empty:
        return frame
    known = pd.DataFrame(acks)[["time_ns", "namespace", "pod", "version"]].rename(columns={"version": "config_version"})
    known["time"] = pd.to_datetime(known.pop("time_ns"), unit="ns", utc=True)
    known["at"] = (known["namespace"] + "/" + known["pod"]).astype("string")
    here = frame.drop(columns="config_version")
    source = here["reporter"] == "source"
    own = here["source_namespace"].str.cat(here["source_pod"], sep="/")
    other = here["destination_namespace"].str.cat(here["destination_pod"], sep="/")
    own = own.where(source, other)
    shared = ("/" + here["node"]).where(here["observer"] != "ebpf", "/" + here["node"] + f"/{AGENT}")
    here["at"] = own.where(here["plane"] != "sidecarless", shared).fillna("").astype("string")
    joined = pd.merge_asof(here, known[["time", "at", "config_version"]].sort_values("time"), on="time", by="at")
    joined["config_version"] = joined["config_version"].astype("string")
    return joined[[column.name for column in FLOWS]]


def edges_frame(flows: pd.DataFrame) -> pd.DataFrame:
    """Who calls whom, as the source saw it (as the destination did where no source reports): requests, rate per
    second, errors (share of 5xx and failed), denied, p50/p90/p99 in ms, share of mutual TLS. A row counts as often as
    it stands for."""
    keys = ["source_namespace", "source_workload", "destination_namespace", "destination_workload"]
    columns = [*keys, "requests", "rate", "error_share", "denied", "p50_ms", "p90_ms", "p99_ms", "mtls_share"]
    known = flows.dropna(subset=["source_workload", "destination_workload"])
    rows = []
    for key, group in known.groupby(keys, observed=True, dropna=False):
        side = group[group["reporter"] == "source"]
        other = group[group["reporter"] == "destination"]
        seen = side if len(side) else other
        span = max((seen["time"].max() - seen["time"].min()).total_seconds(), 1.0)
        requests = int(seen["count"].sum())
        failed = (seen["status"].fillna(0) >= 500) | (seen["verdict"] == "failed").fillna(False)
        timed = seen.dropna(subset=["latency_ms"])
        latency = timed["latency_ms"].repeat(timed["count"].astype(int).tolist()).quantile([0.5, 0.9, 0.99]).tolist()
        denied = int(group[group["verdict"] == "denied"]["count"].sum())
        errors, mtls = ((one.fillna(False) * seen["count"]).sum() / requests for one in (failed, seen["mtls"]))
        rows.append([*key, requests, round(requests / span, 2), float(errors), denied, *latency, float(mtls)])
    return pd.DataFrame(rows, columns=columns)


_PROXIES = [
    "namespace", "pod", "node", "connected", "since_ns", "wanted_version", "wanted_at_ns", "acked_version",
    "acked_at_ns", "nack", "nack_at_ns", "nacks", "rows_written", "rows_dropped", "rows_received",
]  # fmt: skip
_IDENTITIES = [
    "namespace", "pod", "service_account", "spiffe_id", "serial", "not_before", "not_after", "issued_at_ns", "acked"
]  # fmt: skip
_RESOURCES = ["part", "namespace", "pod", "node", "pids", "cpu_s", "pss_bytes", "rss_bytes"]
"""Columns also where there is no row: a notebook that selects one must not fail in an empty lab."""


def proxies_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per proxy; times in UTC, `ack_ms` from wanted to acknowledged."""
    frame = pd.DataFrame(rows, columns=None if rows else _PROXIES)
    frame["synced"] = frame["acked_version"] == frame["wanted_version"]
    frame["ack_ms"] = (frame["acked_at_ns"] - frame["wanted_at_ns"]).where(frame["synced"]) / 1e6
    for name in ("since", "wanted_at", "acked_at", "nack_at"):
        values = frame.pop(f"{name}_ns")
        frame[name] = pd.to_datetime(values.where(values > 0), unit="ns", utc=True)
    for name in ("rows_written", "rows_dropped", "rows_received"):
        frame[name] = frame[name].astype("Int64")
    return frame


def config_events_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per push, ACK and NACK, in the order in which they happened; times in UTC."""
    frame = pd.DataFrame(rows, columns=["time_ns", "namespace", "pod", "kind", "type", "version", "error"])
    frame.insert(0, "time", pd.to_datetime(frame.pop("time_ns"), unit="ns", utc=True))
    return frame


def identities_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per SVID; times in UTC."""
    frame = pd.DataFrame(rows, columns=None if rows else _IDENTITIES)
    for name in ("not_before", "not_after"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    frame["issued_at"] = pd.to_datetime(frame.pop("issued_at_ns"), unit="ns", utc=True)
    return frame


def resources_frame(samples: Sequence[Any]) -> pd.DataFrame:
    """One row per part: CPU seconds since it started, PSS and RSS in bytes."""
    return pd.DataFrame([asdict(sample) for sample in samples], columns=_RESOURCES)
