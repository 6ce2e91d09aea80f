"""Batches of the kernel's events to `FlowEvent`s: what one program saw of both ends gives a row for each end; of what
the proxy carries the kernel sees the application's end, and of that there is a row."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from dnslib import QTYPE

from meshlab.dataplanes.sidecarless import source
from meshlab.dataplanes.sidecarless.tables import unpacked
from meshlab.model.outcomes import Verdict
from meshlab.telemetry.events import FlowEvent, Link, Part

_METHODS = {number: name for name, number in source.numbers("http", "METHOD_").items()}
_REASONS = {number: name.lower() for name, number in source.numbers("reasons", "REASON_").items()}
_VERDICTS = tuple(str(verdict) for verdict in Verdict)
_KINDS = source.numbers("events", "EVENT_")
_END = source.numbers("flows", "END_")
_CLOSED_BY = {number: name.lower() for name, number in source.numbers("flows", "CLOSED_BY_").items()}
Names = Mapping[int, list[str]]


def decode(payload: bytes, node: str, peers: Mapping[str, Mapping[str, Any]]) -> Iterator[FlowEvent]:
    """The rows of one batch of `NodeAgent.drain`; `peers` knows the workload behind an address."""
    header, _, body = payload.partition(b"\n")
    told = json.loads(header)
    names = {int(number): words for number, words in told["names"].items()}
    for event in np.load(io.BytesIO(body), allow_pickle=False):
        yield from _rows(event, names, int(told["clock_ns"]), node, peers)


def _rows(
    event: Any, names: Names, clock_ns: int, node: str, peers: Mapping[str, Mapping[str, Any]]
) -> Iterator[FlowEvent]:
    made = FlowEvent(
        time=int(event["time_ns"]) - int(event["duration_ns"]) + clock_ns,
        kind="connection" if event["kind"] == _KINDS["CONNECTION"] else "request",
        count=int(event["count"]),
        reporter="source",
        plane="sidecarless",
        observer="ebpf",
        node=node,
        mtls=False,
        verdict=_VERDICTS[event["verdict"]],
        reason=_REASONS.get(int(event["reason"]), "unknown"),
        request_bytes=int(event["request_bytes"]),
        response_bytes=int(event["response_bytes"]),
        **_end("source", event, names, peers),
        **_end("destination", event, names, peers),
        **_policy(names.get(int(event["policy"]), [])),
        **_OF_KIND[int(event["kind"])](event),
    )
    service = names.get(int(event["service"]), [])
    at = peers.get(unpacked(int(event["destination_ip"])), {})
    known = [f"{at['namespace']}/{name}" for name in at.get("services") or []]
    made = replace(made, destination_service=service[0] if service else known[0] if len(known) == 1 else None)
    end = int(event["end"])
    if end != _END["BOTH"]:
        reporter = "source" if end == _END["SOURCE"] else "destination"
        began = int(event["connected_ns"]) + clock_ns
        link = Link(Part.READ, reporter, made.source_ip or "", made.source_port or 0, began)
        # How the way to the proxy was, within the pod, is nobody's business.
        yield replace(made, reporter=reporter, link=link, setup_ms=None, rtt_ms=None, retransmits=None)
        return
    yield made
    if made.destination_pod is not None:
        yield replace(made, reporter="destination")


def _end(side: str, event: Any, names: Names, peers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    ip, pod = unpacked(int(event[f"{side}_ip"])), names.get(int(event[f"{side}_pod"]), [])
    namespace, _, name = pod[0].partition("/") if pod else ("", "", "")
    peer = peers.get(ip, {})
    principal = names.get(int(event[f"{side}_identity"]), [])
    return {
        f"{side}_namespace": namespace or None,
        f"{side}_pod": name or None,
        f"{side}_workload": peer.get("workload")
        if (peer.get("namespace"), peer.get("pod")) == (namespace, name)
        else None,
        f"{side}_principal": principal[0] if principal else None,
        f"{side}_ip": ip,
        f"{side}_port": int(event[f"{side}_port"]) or None,
    }


def _policy(words: list[str]) -> dict[str, Any]:
    return {"policy": words[0], "rule": int(words[1]) if words[1].isdigit() else None} if words else {}


def _request(event: Any) -> dict[str, Any]:
    trace = bytes(event["trace_id"])
    return {
        "protocol": "http1",
        "method": _METHODS.get(int(event["method"])),
        "path": bytes(event["path"]).rstrip(b"\0").decode(errors="replace") or None,
        "authority": bytes(event["authority"]).rstrip(b"\0").decode(errors="replace") or None,
        "status": int(event["status"]) or None,
        "latency_ms": int(event["duration_ns"]) / 1e6,
        "trace_id": trace.hex() if any(trace) else None,
    }


def _connection(event: Any) -> dict[str, Any]:
    return {
        "protocol": "tcp",
        "duration_ms": int(event["duration_ns"]) / 1e6,
        "setup_ms": int(event["setup_us"]) / 1e3 or None,
        "rtt_ms": int(event["rtt_us"]) / 1e3 or None,
        "retransmits": int(event["retransmits"]),
        "closed_by": _CLOSED_BY.get(int(event["closed_by"])),
    }


def _dns(event: Any) -> dict[str, Any]:
    name, kind = _question(bytes(event["path"]))
    return {
        "protocol": "dns",
        "method": kind,
        "authority": name,
        "status": int(event["status"]),
        "latency_ms": int(event["duration_ns"]) / 1e6,
    }


def _question(raw: bytes) -> tuple[str, str | None]:
    """Name and type of a question (RFC 1035, 4.1.2); of one that was cut off what is there, and no type."""
    labels, at = [], 0
    while at < len(raw) and (size := raw[at]):
        labels.append(raw[at + 1 : at + 1 + size].decode(errors="replace"))
        at += 1 + size
    kind = raw[at + 1 : at + 3]
    if len(kind) < 2:
        return ".".join(labels).rstrip(".") + "...", None
    return ".".join(labels), str(QTYPE.get(int.from_bytes(kind, "big")))


_OF_KIND = {_KINDS["CONNECTION"]: _connection, _KINDS["REQUEST"]: _request, _KINDS["DNS"]: _dns}
