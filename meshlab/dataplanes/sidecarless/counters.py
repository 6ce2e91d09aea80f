"""The counters of every program: what happened, and what was lost."""

from __future__ import annotations

import ctypes

from meshlab.dataplanes.sidecarless import libbpf, source


def read(descriptor: int) -> dict[str, int]:
    """Every counter by its name in lower case, summed over the CPUs."""
    values = (ctypes.c_uint64 * libbpf.possible_cpus())()
    found = {}
    for name, number in source.numbers("counters", "COUNT_").items():
        libbpf.map_lookup(descriptor, ctypes.c_uint32(number), values)
        found[name.lower()] = sum(values)
    return found
