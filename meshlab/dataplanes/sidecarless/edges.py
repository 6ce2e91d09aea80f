"""Requests per edge, out of the per-CPU table, as one row for each pods, service, method, path and status."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from meshlab.dataplanes.sidecarless import libbpf, source
from meshlab.dataplanes.sidecarless.loader import Layout
from meshlab.dataplanes.sidecarless.tables import Table

METHODS: Mapping[int, str] = {number: name for name, number in source.numbers("http", "METHOD_").items()}


@dataclass(frozen=True)
class Edge:
    """Answered requests that have all of these in common; pods and services are numbers of the plan. `path` is None for
    what found the table full. `latency_us` is the sum; bucket 2n (2n+1) of `histogram` counts the lower (upper) half of
    [2^n, 2^(n+1)) microseconds."""

    source_pod: int
    destination_pod: int
    service: int
    method: str
    path: str | None
    status: int
    count: int
    request_bytes: int
    response_bytes: int
    latency_us: int
    histogram: tuple[int, ...]


def read(layout: Layout, paths: Table) -> list[Edge]:
    """Every edge since the plane was loaded."""
    cpus, room = libbpf.possible_cpus(), int(libbpf.map_info(layout.descriptor).max_entries) + 1
    leaf = np.dtype(layout.leaf)
    keys = ctypes.create_string_buffer(room * ctypes.sizeof(layout.key))
    leaves = np.zeros((room, cpus), leaf)
    count = libbpf.map_batch(layout.descriptor, keys, leaves.ctypes.data_as(ctypes.c_void_p), room)
    record: np.dtype[Any] = np.dtype(layout.key)
    rows = np.frombuffer(bytearray(keys), record, count)
    names = {int(key.hash): bytes(path.text).split(b"\0")[0].decode(errors="replace") for key, path in paths.items()}
    return [_edge(key, leaves[number], names) for number, key in enumerate(rows)]


def _edge(key: Any, cpus: Any, names: Mapping[int, str]) -> Edge:
    return Edge(
        source_pod=int(key["source_pod"]),
        destination_pod=int(key["destination_pod"]),
        service=int(key["service"]),
        method=METHODS[int(key["method"])],
        path=names.get(int(key["path_hash"])),
        status=int(key["status"]),
        count=int(cpus["count"].sum()),
        request_bytes=int(cpus["request_bytes"].sum()),
        response_bytes=int(cpus["response_bytes"].sum()),
        latency_us=int(cpus["latency_us"].sum()),
        histogram=tuple(int(number) for number in cpus["latency"].sum(axis=0)),
    )
