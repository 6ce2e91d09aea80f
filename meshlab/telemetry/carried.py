"""HTTP that proxies carried and kernels read: rows of two observers become one.

A kernel sees each request at an application's end of a connection, not who is at the other end; the proxy knows that
(`Part.BEGUN`, with the certificate by which it was proven), and how the connection ended, but of its requests nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from meshlab.telemetry.events import FlowEvent, Link, Part

_NEAR_NS = 2_000_000_000
"""How late a proxy may learn of a connection that the kernel has made."""
_OTHER_END = {
    "source": (
        "destination_namespace", "destination_service", "destination_workload", "destination_pod",
        "destination_principal", "destination_ip", "destination_port",
    ),
    "destination": (
        "source_namespace", "source_workload", "source_pod", "source_principal", "source_ip", "source_port",
        "reason", "policy", "rule",
    ),
}  # fmt: skip
_Ends = Mapping[tuple[str, int], list[int]]


@dataclass
class _Connection:
    """What is told of one: by the proxy, and by the kernel."""

    begun: FlowEvent | None = None
    ended: FlowEvent | None = None
    read: list[FlowEvent] = field(default_factory=list)

    def rows(self) -> Iterator[FlowEvent]:
        """What the kernel read, with what the proxy knows. The proxy's own row where the kernel has told nothing, or
        says of a connection that failed only that it was there."""
        about = self.begun or self.ended
        failed = self.ended is not None and self.ended.verdict != "allowed"
        kept = [row for row in self.read if not (failed and row.kind == "connection")]
        yield from (_with(row, about) for row in kept if about is not None)
        if self.ended is not None and (not self.read or len(kept) < len(self.read)):
            yield replace(self.ended, link=None)


def joined(events: Iterable[FlowEvent]) -> list[FlowEvent]:
    """The rows as users see them, of all that the observers have told."""
    rows: list[FlowEvent] = []
    read: list[tuple[Link, FlowEvent]] = []
    known: dict[tuple[str, str, int], dict[int, _Connection]] = defaultdict(lambda: defaultdict(_Connection))
    for event in events:
        link = event.link
        if link is None:
            rows.append(event)
        elif link.part is Part.READ:
            read.append((link, event))
        elif link.part is Part.BEGUN:
            known[link.key][link.began].begun = event
        else:
            known[link.key][link.began].ended = event
    requests = _requests(rows)
    for link, event in read:
        near = min(known.get(link.key, ()), key=lambda began, at=link.began: abs(began - at), default=None)
        if near is not None and abs(near - link.began) < _NEAR_NS:
            known[link.key][near].read.append(event)
        elif not _is_told(requests, link, event):
            rows.append(replace(event, link=None))
    rows.extend(row for connections in known.values() for one in connections.values() for row in one.rows())
    return rows


def _with(row: FlowEvent, proxy: FlowEvent) -> FlowEvent:
    known = {name: value for name in _OTHER_END[row.reporter] if (value := getattr(proxy, name)) is not None}
    return replace(row, **known, mtls=proxy.mtls, link=None)


def _requests(rows: Iterable[FlowEvent]) -> _Ends:
    """When a proxy told of requests that it had read itself, by the client's end."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in rows:
        if row.observer == "envoy" and row.kind == "request" and row.reporter == "source" and row.source_port:
            found[row.source_ip or "", row.source_port].append(row.time)
    return found


def _is_told(requests: _Ends, link: Link, event: FlowEvent) -> bool:
    """While one form takes the other's place a proxy may have read by itself what the kernel was to read for it."""
    if link.reporter != "source":
        return False
    return any(link.began - _NEAR_NS < at < event.time + _NEAR_NS for at in requests.get((link.ip, link.port), ()))
