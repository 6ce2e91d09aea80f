"""One flow, in the words of the schema: what every data plane turns its own dialect into."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """One row of `schema.FLOWS`, field by field; None is "not known". `time`: nanoseconds since 1970."""

    time: int
    kind: str
    plane: str
    observer: str
    reporter: str
    protocol: str
    verdict: str
    reason: str
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
    method: str | None = None
    path: str | None = None
    path_template: str | None = None
    authority: str | None = None
    status: int | None = None
    grpc_status: int | None = None
    policy: str | None = None
    rule: int | None = None
    route: str | None = None
    mtls: bool | None = None
    tls_group: str | None = None
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
    config_version: str | None = None
