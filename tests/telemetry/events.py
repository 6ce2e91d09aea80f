"""Flows for tests: a call from web to ratings in the shop, unless told otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meshlab.telemetry.events import FlowEvent

SECOND = 1_000_000_000
START = 1_795_488_413 * SECOND


def event(at: float = 0.0, reporter: str = "source", **fields: Any) -> FlowEvent:
    """One flow, `at` seconds after START."""
    base = FlowEvent(
        time=START + round(at * SECOND), kind="request", plane="sidecar", observer="envoy", reporter=reporter,
        protocol="http1", verdict="allowed", reason="ok", source_namespace="shop", source_workload="web",
        source_pod="web-1", destination_namespace="shop", destination_service="ratings",
        destination_workload="ratings", destination_pod="ratings-1", status=200, latency_ms=1.0, mtls=True,
    )  # fmt: skip
    return replace(base, **fields)
