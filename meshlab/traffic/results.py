"""What came of a load: a summary, and a frame with one row per request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from hdrh.histogram import HdrHistogram

from meshlab.errors import MeshlabError
from meshlab.traffic.generator import ERRORS, MAGIC, RECORD
from meshlab.traffic.spec import TrafficSpec

_LATE_MS = 50.0


@dataclass(frozen=True)
class Result:
    """`summary`: sent, ok, failed, status, errors, latency_ms (p50, p90, p99, max; from the time a request was due),
    rate_target, rate_achieved (per second), valid, why_invalid. `frame`: scheduled, sent (UTC), latency_ms, status,
    error, body_bytes, trace_id."""

    spec: TrafficSpec
    summary: dict[str, Any]
    frame: pd.DataFrame = field(repr=False)

    def _repr_html_(self) -> str:
        rows = pd.DataFrame([{key: str(value) for key, value in self.summary.items()}])
        return str(rows.to_html(index=False))


def read(path: Path) -> Result:
    """Read the generator's records. MeshlabError where nothing ever connected."""
    raw = path.read_bytes()
    head, _, records = raw.removeprefix(MAGIC).partition(b"\n")
    spec = TrafficSpec.from_json(head.decode())
    rows = list(RECORD.iter_unpack(records))
    frame = pd.DataFrame(rows, columns=["scheduled", "sent", "latency_ms", "status", "error", "body_bytes", "trace_id"])
    late_ms = (frame["sent"] - frame["scheduled"]).max() / 1e6
    frame["latency_ms"] /= 1e6
    frame["error"] = frame["error"].map(lambda number: ERRORS[number])
    frame["trace_id"] = frame["trace_id"].map(lambda trace: trace.hex())
    for column in ("scheduled", "sent"):
        frame[column] = pd.to_datetime(frame[column], unit="ns", utc=True)
    if not (frame["status"] > 0).any() and set(frame["error"]) <= {"connect", "dns"}:
        error = frame["error"].iloc[0]
        raise MeshlabError(
            f"no request to {spec.url} ever connected ({error})",
            hint="check the name and the port: `meshlab get services`",
        )
    return Result(spec, _summary(spec, frame, late_ms), frame)


def _summary(spec: TrafficSpec, frame: pd.DataFrame, late_ms: float) -> dict[str, Any]:
    histogram = HdrHistogram(1, 3_600_000_000, 3)
    for value in frame["latency_ms"]:
        histogram.record_value(max(1, round(value * 1000)))
    percentiles = {
        name: histogram.get_value_at_percentile(p) / 1000 for name, p in (("p50", 50), ("p90", 90), ("p99", 99))
    }
    ok = int(((frame["status"] >= 200) & (frame["status"] < 400)).sum())
    spread_s = (frame["sent"].max() - frame["sent"].min()).total_seconds()
    achieved = spec.rate if len(frame) < 2 or not spread_s else (len(frame) - 1) / spread_s
    target = spec.rate if len(frame) < 2 else _planned_rate(frame)
    why = []
    if achieved < 0.99 * target:
        why.append(f"achieved {achieved:.1f} of {target:.1f} requests/s")
    if late_ms > _LATE_MS:
        why.append(f"the generator was late by up to {late_ms:.0f} ms")
    return {
        "sent": len(frame),
        "ok": ok,
        "failed": len(frame) - ok,
        "status": {str(code): count for code, count in sorted(Counter(frame["status"]).items()) if code},
        "errors": {name: count for name, count in sorted(Counter(frame["error"]).items()) if name},
        "latency_ms": {**percentiles, "max": round(float(frame["latency_ms"].max()), 3)},
        "rate_target": spec.rate,
        "rate_achieved": round(achieved, 2),
        "valid": not why,
        "why_invalid": "; ".join(why),
    }


def _planned_rate(frame: pd.DataFrame) -> float:
    span = (frame["scheduled"].max() - frame["scheduled"].min()).total_seconds()
    return (len(frame) - 1) / span if span else float(len(frame))
