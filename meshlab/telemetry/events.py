"""One flow, as a plane saw it. Fields are columns of the schema; None is "not known here"."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What a row says of a connection that was carried."""

    READ = "read"
    """The kernel: what the application at one end said."""
    BEGUN = "begun"
    """The proxy: who is at the other end."""
    ENDED = "ended"
    """The proxy: the connection has ended, or came to nothing."""


@dataclass(frozen=True, slots=True)
class Link:
    """One end of a connection between an application and its proxy, by the client's address there, and when it began
    (Unix nanoseconds; the proxy learns of it a little later than the kernel)."""

    part: Part
    reporter: str
    ip: str
    port: int
    began: int

    @property
    def key(self) -> tuple[str, str, int]:
        return self.reporter, self.ip, self.port


@dataclass(frozen=True, slots=True)
class FlowEvent:
    time: int
    """Unix nanoseconds."""
    kind: str
    reporter: str
    plane: str = "sidecar"
    observer: str = "envoy"
    count: int = 1
    node: str | None = None
    source_namespace: str | None = None
    source_workload: str | None = None
    source_pod: str | None = None
    source_principal: str | None = None
    source_ip: str | None = None
    source_port: int | None = None
    destination_namespace: str | None = None
    destination_service: str | None = None
    destination_workload: str | None = None
    destination_pod: str | None = None
    destination_principal: str | None = None
    destination_ip: str | None = None
    destination_port: int | None = None
    protocol: str | None = None
    method: str | None = None
    path: str | None = None
    authority: str | None = None
    status: int | None = None
    grpc_status: int | None = None
    verdict: str | None = None
    reason: str | None = None
    policy: str | None = None
    rule: int | None = None
    route: str | None = None
    mtls: bool | None = None
    latency_ms: float | None = None
    setup_ms: float | None = None
    duration_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    retries: int | None = None
    retransmits: int | None = None
    rtt_ms: float | None = None
    closed_by: str | None = None
    trace_id: str | None = None
    link: Link | None = None
    """Of a connection that a proxy carried and a kernel read: which one. Not a column (`carried.py`)."""
