"""One flow, as a plane saw it. Fields are columns of the schema; None is "not known here"."""

from __future__ import annotations

from dataclasses import dataclass


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
