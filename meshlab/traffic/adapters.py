"""Other people's load generators, wrk and h2load: their command lines and their words. Pure; `lab.traffic` fires them.

Both are closed loops: a connection sends its next request when the last one was answered, so a mesh that stalls is
asked less. Their throughput is good, their latencies leave out what would have been sent meanwhile.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from meshlab.errors import MeshlabError
from meshlab.traffic.results import COLUMNS, Result, never_connected, percentiles
from meshlab.traffic.spec import Pairs, check_range, check_target

PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
"""The Debian package that has it."""
TOOLS = ("meshlab", *PACKAGES)
NOTE = "closed loop: the latencies suffer from coordinated omission"
BODY, LOG = "body", "log.tsv"
_SCRIPT = Path(__file__).with_name("wrk.lua")
_H2LOAD = re.compile(r"finished in ([0-9.]+)(us|ms|s|m|h), ([0-9.]+) req/s")
_REQUESTS = re.compile(r"requests: (\d+) total, (\d+) started, (\d+) done")


@dataclass(frozen=True)
class ClosedLoop:
    """`connections` at once on `threads` of the tool, `streams` at once on each (HTTP/2); `protocol` "http1" or
    "http2" ("" for what the tool speaks by itself). Whole seconds for wrk."""

    url: str
    tool: str
    duration_s: float = 5.0
    connections: int = 16
    threads: int = 1
    streams: int = 1
    protocol: str = ""
    method: str = "GET"
    headers: Pairs = ()
    body: str = ""
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        check_target(self.url, self.method, self.headers)
        check_range("duration_s", self.duration_s, 0.001, 86_400)
        check_range("threads", self.threads, 1, 256)
        check_range("connections", self.connections, self.threads, 100_000)
        check_range("streams", self.streams, 1, 1_000)
        check_range("timeout_s", self.timeout_s, 0.001, 3600)
        if self.protocol not in ("", "http1", "http2"):
            raise MeshlabError(f"protocol {self.protocol!r}: expected http1 or http2")
        if self.tool == "wrk" and (self.protocol == "http2" or self.streams > 1):
            raise MeshlabError("wrk speaks HTTP/1.1 only, one request at a time", hint="use tool='h2load'")
        if "\0" in self.body:
            raise MeshlabError("body: expected text without NUL bytes")

    @property
    def planned_duration_s(self) -> float:
        return float(math.ceil(self.duration_s)) if self.tool == "wrk" else self.duration_s


def command(load: ClosedLoop, folder: Path) -> list[str]:
    """The argv; `folder` is the tool's own, and holds `files(load)`."""
    words = [load.tool, f"-t{load.threads}", f"-c{load.connections}"]
    headers = [word for name, value in load.headers for word in ("-H", f"{name}: {value}")]
    if load.tool == "wrk":
        words += [f"-d{load.planned_duration_s:.0f}s", f"--timeout={math.ceil(load.timeout_s)}s", f"-s{_SCRIPT}"]
        return [*words, *headers, load.url, "--", load.method, load.body]
    words += [f"-m{load.streams}", f"-D{max(1, round(load.duration_s * 1000))}ms", f"--log-file={folder / LOG}"]
    words += [f"--connection-inactivity-timeout={max(1, round(load.timeout_s * 1000))}ms"]
    words += ["--h1"] if load.protocol == "http1" else []
    words += [f"--data={folder / BODY}"] if load.body else []
    return [*words, "-H", f":method: {load.method}", *headers, load.url]


def files(load: ClosedLoop) -> dict[str, str]:
    """What the command line names and must be there."""
    return {BODY: load.body} if load.tool == "h2load" and load.body else {}


def read(load: ClosedLoop, output: str, log: bytes) -> Result:
    """The tool's words as a Result. MeshlabError where it never got an answer or said nothing that we know."""
    return _read_wrk(load, output) if load.tool == "wrk" else _read_h2load(load, output, log)


def _read_wrk(load: ClosedLoop, output: str) -> Result:
    lines = [line for line in output.splitlines() if line.startswith('{"wrk"')]
    if not lines:
        raise _strange(load, output)
    said = json.loads(lines[-1])
    errors = {name: count for name, count in said["errors"].items() if count}
    # wrk counts an answer that came too late among the answers, and leaves it out of the latencies.
    lost = sum(count for name, count in errors.items() if name != "timeout")
    if not said["requests"] and errors:
        raise never_connected(load.url, ", ".join(errors))
    good = sum(count for status, count in said["status"].items() if 200 <= int(status) < 400)
    measured = said["requests"] > errors.get("timeout", 0)
    latency = {name: value / 1000 if measured else None for name, value in said["latency_us"].items()}
    summary = _summary(
        said["requests"] + lost, max(0, good - errors.get("timeout", 0)), said["status"], errors, latency,
        said["requests"] / (said["duration_us"] / 1e6) if said["duration_us"] else 0.0,
    )  # fmt: skip
    return Result(load, summary, pd.DataFrame(columns=list(COLUMNS)))


def _read_h2load(load: ClosedLoop, output: str, log: bytes) -> Result:
    finished, requests = _H2LOAD.search(output), _REQUESTS.search(output)
    if finished is None or requests is None:
        raise _strange(load, output)
    raw = pd.read_csv(BytesIO(log), sep="\t", header=None, names=["at", "status", "latency"], usecols=[0, 1, 2])
    answered = raw[raw["status"] > 0]
    if requests[2] == "0":
        raise never_connected(load.url, "no request was started")
    status = {str(code): int(count) for code, count in answered["status"].value_counts().sort_index().items()}
    good = sum(count for code, count in status.items() if 200 <= int(code) < 400)
    # h2load's own count of failures includes answers of 4xx and 5xx; what has no answer at all is an error.
    errors = {"reset": missing} if (missing := max(len(raw) - len(answered), int(requests[3]) - len(answered))) else {}
    summary = _summary(
        len(answered) + sum(errors.values()), good, status, errors,
        percentiles(answered["latency"].astype(float)), float(finished[3]),
    )  # fmt: skip
    return Result(load, summary, _frame(answered))


def _frame(answered: pd.DataFrame) -> pd.DataFrame:
    sent = pd.to_datetime(answered["at"], unit="us", utc=True)
    frame = pd.DataFrame({"sent": sent, "latency_ms": answered["latency"] / 1000, "status": answered["status"]})
    return frame.reindex(columns=list(COLUMNS)).reset_index(drop=True)


def _summary(
    sent: int, ok: int, status: dict[str, int], errors: dict[str, int], latency: dict[str, Any], rate: float
) -> dict[str, Any]:
    """The keys of the open loop, where a closed one has them. Valid means that it ran: there is no target to miss."""
    return {
        "sent": sent,
        "ok": ok,
        "failed": sent - ok,
        "status": dict(sorted(status.items())),
        "errors": errors,
        "latency_ms": latency,
        "rate_target": None,
        "rate_achieved": round(rate, 2),
        "valid": sent > 0,
        "why_invalid": "" if sent else "no request was answered",
        "loop": "closed",
        "note": NOTE,
    }


def _strange(load: ClosedLoop, output: str) -> MeshlabError:
    last: Sequence[str] = output.strip().splitlines()[-3:] or ["nothing"]
    return MeshlabError(f"{load.tool} said what is not understood here: {' / '.join(last)}", hint="use tool='meshlab'")
