"""What came of a load: a summary, and a frame with one row per request."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from hdrh.histogram import HdrHistogram

from meshlab.errors import MeshlabError
from meshlab.traffic.generator import ERRORS, MAGIC, RECORD
from meshlab.traffic.spec import TrafficSpec

if TYPE_CHECKING:
    from meshlab.traffic.adapters import ClosedLoop

_LATE_MS = 50.0
_BUSY = 0.9
COLUMNS = ("scheduled", "sent", "latency_ms", "status", "error", "body_bytes", "trace_id")


@dataclass(frozen=True)
class Result:
    """`summary`: sent, ok, failed, status, errors, latency_ms (p50, p90, p99, max; from the time a request was due),
    rate_target, rate_achieved (per second), valid, why_invalid, loop (open, or closed for wrk and h2load: no target
    then), generator (its own lateness and share of a CPU). `frame`: scheduled, sent (UTC), latency_ms, status,
    error, body_bytes, trace_id (empty for wrk)."""

    spec: TrafficSpec | ClosedLoop
    summary: dict[str, Any]
    frame: pd.DataFrame = field(repr=False)

    def _repr_html_(self) -> str:
        rows = pd.DataFrame([{key: str(value) for key, value in self.summary.items()}])
        return str(rows.to_html(index=False))


def read(path: Path) -> Result:
    """Read the generator's records. MeshlabError where nothing ever connected."""
    raw = path.read_bytes()
    head, _, records = raw.removeprefix(MAGIC).partition(b"\n")
    said = json.loads(head)
    account = {"cpu_share": 0.0, "unsent": 0, **said.pop("generator", {})}
    spec = TrafficSpec.from_json(json.dumps(said))
    frame = pd.DataFrame(list(RECORD.iter_unpack(records)), columns=list(COLUMNS))
    account["late_ms"] = round(float((frame["sent"] - frame["scheduled"]).max()) / 1e6, 3)
    frame["latency_ms"] /= 1e6
    frame["error"] = frame["error"].map(lambda number: ERRORS[number])
    frame["trace_id"] = frame["trace_id"].map(lambda trace: trace.hex())
    for column in ("scheduled", "sent"):
        frame[column] = pd.to_datetime(frame[column], unit="ns", utc=True)
    if not (frame["status"] > 0).any() and set(frame["error"]) <= {"connect", "dns"}:
        raise never_connected(spec.url, frame["error"].iloc[0])
    return Result(spec, _summary(spec, frame, account), frame)


def never_connected(url: str, why: str) -> MeshlabError:
    """The error for a load of which no request got through."""
    return MeshlabError(
        f"no request to {url} ever connected ({why})", hint="check the name and the port: `meshlab get services`"
    )


def percentiles(latency_us: pd.Series[float]) -> dict[str, float | None]:
    """p50, p90, p99 from an HDR histogram (three digits, 1 us to 1 h) and the maximum, in ms."""
    if latency_us.empty:
        return dict.fromkeys(("p50", "p90", "p99", "max"))
    histogram = HdrHistogram(1, 3_600_000_000, 3)
    for value, count in latency_us.clip(lower=1).round().astype("int64").value_counts().items():
        histogram.record_value(value, count)
    most = float(latency_us.max()) / 1000
    # A histogram names the upper end of a bucket: never above what was measured.
    points = {f"p{p}": min(histogram.get_value_at_percentile(p) / 1000, most) for p in (50, 90, 99)}
    return {name: round(value, 3) for name, value in {**points, "max": most}.items()}


def _summary(spec: TrafficSpec, frame: pd.DataFrame, account: dict[str, Any]) -> dict[str, Any]:
    ok = int(((frame["status"] >= 200) & (frame["status"] < 400)).sum())
    spread_s = (frame["sent"].max() - frame["sent"].min()).total_seconds()
    achieved = spec.rate if len(frame) < 2 or not spread_s else (len(frame) - 1) / spread_s
    why = _why_invalid(achieved, spec.rate if len(frame) < 2 else _planned_rate(frame), account)
    return {
        "sent": len(frame),
        "ok": ok,
        "failed": len(frame) - ok,
        "status": {str(code): count for code, count in sorted(Counter(frame["status"]).items()) if code},
        "errors": {name: count for name, count in sorted(Counter(frame["error"]).items()) if name},
        "latency_ms": percentiles(frame["latency_ms"] * 1000),
        "rate_target": spec.rate,
        "rate_achieved": round(achieved, 2),
        "valid": not why,
        "why_invalid": "; ".join(why),
        "loop": "open",
        "generator": {"cpu_share": round(account["cpu_share"], 3), "late_ms": account["late_ms"]},
    }


def _why_invalid(achieved: float, target: float, account: dict[str, Any]) -> list[str]:
    why = []
    if achieved < 0.99 * target:
        why.append(f"achieved {achieved:.1f} of {target:.1f} requests/s")
    if account["unsent"]:
        why.append(f"{account['unsent']} requests were never sent: too many were in flight")
    if account["late_ms"] > _LATE_MS:
        why.append(f"the generator was late by up to {account['late_ms']:.0f} ms")
    if account["cpu_share"] > _BUSY:
        why.append(f"the generator was saturated: it used {account['cpu_share']:.0%} of a CPU")
    return why


def _planned_rate(frame: pd.DataFrame) -> float:
    span = (frame["scheduled"].max() - frame["scheduled"].min()).total_seconds()
    return (len(frame) - 1) / span if span else float(len(frame))
