"""Events and rows into frames with the schema's columns and types. Empty input gives an empty frame of full width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from meshlab.telemetry import schema
from meshlab.telemetry.events import FlowEvent
from meshlab.telemetry.schema import Column

Row = Mapping[str, Any]
_EDGE = ["source_namespace", "source_workload", "destination_namespace", "destination_workload", "protocol"]


class Sample(Protocol):
    """What `resources_frame` reads of a `runtimes.base.ResourceSample`."""

    @property
    def part(self) -> str: ...
    @property
    def cpu_s(self) -> float: ...
    @property
    def pss_bytes(self) -> int: ...


def flows_frame(events: Sequence[FlowEvent], acks: Iterable[Row] = ()) -> pd.DataFrame:
    """One row per event, oldest first. `acks`: rows of `GET /config-events` of kind `ack` (`time_ns`, `namespace`,
    `pod`, `version`), by which each flow gets the version that its reporter had acknowledged when it began."""
    columns = {
        column.name: _array([getattr(event, column.name) for event in events], column) for column in schema.FLOWS
    }
    frame = pd.DataFrame(columns).sort_values("time", kind="stable", ignore_index=True)
    known = pd.DataFrame(
        [(f"{row['namespace']}/{row['pod']}", row["time_ns"], row["version"]) for row in acks],
        columns=["reporter_pod", "time", "acked"],
    )
    return frame if known.empty or frame.empty else _with_versions(frame, known)


def _with_versions(frame: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Join each flow with the newest ACK of its reporter at or before its time."""
    known["time"] = _times(known["time"].tolist())
    known["reporter_pod"] = known["reporter_pod"].astype("string")
    at_source = frame["reporter"] == "source"
    namespace = frame["source_namespace"].where(at_source, frame["destination_namespace"])
    pod = frame["source_pod"].where(at_source, frame["destination_pod"])
    left = pd.DataFrame({"time": frame["time"], "reporter_pod": (namespace + "/" + pod).fillna("")})
    known = known.sort_values("time", kind="stable")
    joined = pd.merge_asof(left, known, on="time", by="reporter_pod")
    frame["config_version"] = frame["config_version"].fillna(joined["acked"].astype("string"))
    return frame


def edges_frame(flows: pd.DataFrame) -> pd.DataFrame:
    """Who calls whom, one row per edge and protocol, columns of `schema.EDGES`.

    A call between two proxies is in `flows` twice. Requests, errors and latency are those of the callers' rows where an
    edge has any, else those of the servers'; `denied` counts both (what the source refuses never reaches the server).
    """
    if flows.empty:
        return _frame([], schema.EDGES)
    target = flows["destination_workload"].fillna(flows["destination_service"])
    flows = flows.assign(destination_workload=target)
    seconds = max((flows["time"].max() - flows["time"].min()).total_seconds(), 1e-3)
    rows = []
    for key, group in flows.groupby(_EDGE, dropna=False, observed=True, sort=True):
        rows.append(dict(zip(_EDGE, key, strict=True)) | _edge(group, seconds))
    return _frame(rows, schema.EDGES)


def _edge(group: pd.DataFrame, seconds: float) -> dict[str, Any]:
    source = group[group["reporter"] == "source"]
    seen = group if source.empty else source
    requests = int(seen["count"].sum())
    errors = int(seen["count"][is_error(seen)].sum())
    timed = seen["latency_ms"][seen["verdict"] != "denied"].dropna()
    known = seen["mtls"].dropna()
    quantiles = timed.quantile([0.5, 0.9, 0.99]).tolist() if len(timed) else [None] * 3
    return {
        "requests": requests,
        "rate": requests / seconds,
        "errors": errors,
        "error_share": errors / requests if requests else None,
        "denied": int(group["count"][group["verdict"] == "denied"].sum()),
        "p50_ms": quantiles[0],
        "p90_ms": quantiles[1],
        "p99_ms": quantiles[2],
        "mtls_share": float(known.mean()) if len(known) else None,
        "reporter": "destination" if source.empty else "source",
    }


def is_error(flows: pd.DataFrame) -> pd.Series[bool]:
    """Failed, or answered with 5xx or a gRPC status that is not 0. What policy refused is no error."""
    wrong = (
        (flows["verdict"] == "failed")
        | (flows["status"] >= 500).fillna(False)
        | (flows["grpc_status"].fillna(0) != 0)
    )  # fmt: skip
    return (wrong & (flows["verdict"] != "denied")).astype(bool)


def proxies_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """From `GET /proxies`: columns of `schema.PROXIES`."""
    return _frame([_proxy(row) for row in rows], schema.PROXIES)


def _proxy(row: Row) -> dict[str, Any]:
    wanted, acked = row.get("wanted_version") or None, row.get("acked_version") or None
    synced = wanted is not None and wanted == acked
    wanted_ns, acked_ns = row.get("wanted_at_ns") or None, row.get("acked_at_ns") or None
    lag = (acked_ns - wanted_ns) / 1e6 if synced and wanted_ns and acked_ns else None
    return {
        **row,
        "synced": synced,
        "wanted_version": wanted,
        "acked_version": acked,
        "wanted_at": wanted_ns,
        "acked_at": acked_ns,
        "lag_ms": lag,
        "nack": row.get("nack") or None,
        "nack_at": row.get("nack_at_ns") or None,
        "since": row.get("since_ns") or None,
    }


def resources_frame(samples: Iterable[Sample]) -> pd.DataFrame:
    """From the runtime's samples: columns of `schema.RESOURCES`."""
    return _frame(
        [{c.name: getattr(sample, c.name) or None for c in schema.RESOURCES} | _figures(sample) for sample in samples],
        schema.RESOURCES,
    )


def _figures(sample: Sample) -> dict[str, Any]:
    """Numbers keep their zero."""
    return {c.name: getattr(sample, c.name) for c in schema.RESOURCES if c.dtype != schema.TEXT}


def identities_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """From `GET /identities`: columns of `schema.IDENTITIES`. `not_before`/`not_after` may be seconds, nanoseconds or
    ISO 8601 text."""
    return _frame(
        [
            {
                **row,
                "serial": _hex(row.get("serial")),
                "not_before": _instant(row.get("not_before")),
                "not_after": _instant(row.get("not_after")),
                "delivered_at": row.get("delivered_at_ns") or None,
            }
            for row in rows
        ],
        schema.IDENTITIES,
    )


def _hex(serial: Any) -> str | None:
    return f"{serial:x}" if isinstance(serial, int) else (serial or None)


def _instant(value: Any) -> int | None:
    """Nanoseconds since 1970. Seconds are told from nanoseconds by their size (1e12 s is the year 33658)."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return int(pd.Timestamp(value).as_unit("ns").value)
    return int(value * 1_000_000_000) if value < 1e12 else int(value)


def _frame(rows: Sequence[Row], columns: tuple[Column, ...]) -> pd.DataFrame:
    """Columns that are not of the schema are left out."""
    return pd.DataFrame({c.name: _array([row.get(c.name) for row in rows], c) for c in columns})


def _array(values: list[Any], column: Column) -> Any:
    if column.dtype == schema.TIME:
        return _times(values)
    dtype: Any = column.dtype
    return pd.array(values, dtype=dtype)


def _times(values: list[int | None]) -> Any:
    """Nanoseconds since 1970, None for none; through integers, because floats would round them."""
    return pd.to_datetime(pd.Series(values, dtype="Int64"), unit="ns", utc=True).dt.as_unit("ns").array
