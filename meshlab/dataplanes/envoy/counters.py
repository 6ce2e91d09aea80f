"""What a proxy itself counted: asked of its admin port from inside its pod, where alone it can be reached."""

from __future__ import annotations

import re
from dataclasses import dataclass

from meshlab.model.wire import ADMIN_PORT

_PREFIX = "access_logs.grpc_access_log."
_CONNECTIONS = re.compile(r"tcp\..*\.downstream_cx_total|listener\..*\.no_filter_chain_match")
_ASKED = "grpc_access_log|downstream_cx_total|no_filter_chain_match"
_LINE = re.compile(rb"^([\w.|:-]+): (\d+)\r?$", re.MULTILINE)
# bash speaks TCP by itself: no curl is needed in the pod, and a whole round costs a few milliseconds.
_ASK = (
    "exec 3<>/dev/tcp/127.0.0.1/{port}; "
    "printf 'GET /stats?filter={filter} HTTP/1.1\\r\\nHost: admin\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
)


@dataclass(frozen=True)
class LogCounters:
    """Flow rows of one proxy since it started: `written` to its buffer, `dropped` because the buffer was full.

    Envoy counts the rows of requests as they are written, those of connections as they leave the buffer: so there are
    at most `connections` more, of which some may still be open (of those that it only carries it tells twice: when the
    other end is known, and when they end)."""

    written: int = 0
    dropped: int = 0
    connections: int = 0


def stats_command(pattern: str = _ASKED, port: int = ADMIN_PORT) -> list[str]:
    """The command, run inside the pod, that prints the counters whose names match a regular expression."""
    return ["bash", "-c", _ASK.format(port=port, filter=pattern)]


def parse_stats(answer: bytes) -> dict[str, int]:
    """Counter and gauge values by name, from what `stats_command` printed."""
    body = answer.partition(b"\r\n\r\n")[2]
    return {name.decode(): int(value) for name, value in _LINE.findall(body)}


def agent_counters(answer: bytes) -> LogCounters:
    """Of a node's agent, asked at its own port."""
    stats = parse_stats(answer)
    return LogCounters(stats.get("flows.written", 0), stats.get("flows.dropped", 0))


def log_counters(answer: bytes) -> LogCounters:
    stats = parse_stats(answer)
    requests, left = stats.get(f"{_PREFIX}logs_written", 0), stats.get(f"{_PREFIX}grpc_entries_flushed", 0)
    told = {name: 2 if "_carried." in name else 1 for name in stats if _CONNECTIONS.fullmatch(name)}
    connections = sum(stats[name] * times for name, times in told.items())
    more = max(0, requests + connections - max(requests, left))
    return LogCounters(max(requests, left), stats.get(f"{_PREFIX}logs_dropped", 0), more)
