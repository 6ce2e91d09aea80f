"""The counters of every program: what happened, and what was lost."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from meshlab.dataplanes.sidecarless import libbpf, source


def possible_cpus() -> int:
    """The kernel gives a value for every CPU that could be plugged in ("0-3,8")."""
    text = Path("/sys/devices/system/cpu/possible").read_text()
    return int(re.findall(r"\d+", text)[-1]) + 1


def read(descriptor: int) -> dict[str, int]:
    """Every counter by its name in lower case, summed over the CPUs."""
    values = (ctypes.c_uint64 * possible_cpus())()
    found = {}
    for name, number in source.numbers("counters", "COUNT_").items():
        libbpf.map_lookup(descriptor, ctypes.c_uint32(number), values)
        found[name.lower()] = sum(values)
    return found
