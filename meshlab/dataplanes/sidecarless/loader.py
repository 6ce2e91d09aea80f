"""Programs and maps as descriptors, loaded by a process that ends (`kernel.py`); the layouts as ctypes."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshlab.dataplanes.sidecarless import libbpf, source
from meshlab.dataplanes.sidecarless.hooks import HOOKS
from meshlab.errors import CannotRun
from meshlab.kit import processes

RAW = ("listeners", "readers", "sockets", "askers", "blank_edge")
"""The maps that only programs look into."""
_PER_CPU = ("counters", "edges")
_WORDS: Mapping[str, Any] = {
    "char": ctypes.c_char,
    "unsigned char": ctypes.c_uint8,
    "short": ctypes.c_int16,
    "unsigned short": ctypes.c_uint16,
    "int": ctypes.c_int32,
    "unsigned int": ctypes.c_uint32,
    "long long": ctypes.c_int64,
    "unsigned long long": ctypes.c_uint64,
}


@dataclass(frozen=True)
class Layout:
    """One map: its descriptor, and the ctypes of the C structures."""

    name: str
    descriptor: int
    key: type[Any]
    leaf: type[Any]


@dataclass(frozen=True)
class Loaded:
    """Programs by name (descriptors) and maps. Nothing is attached; the maps are pinned."""

    programs: Mapping[str, int]
    tables: Mapping[str, Layout]
    raw: Mapping[str, int]
    """Descriptors of the maps without a layout."""

    def close(self) -> None:
        """Close every descriptor; what is pinned stays."""
        for table in self.tables.values():
            os.close(table.descriptor)
        for descriptor in (*self.programs.values(), *self.raw.values()):
            os.close(descriptor)


def load(folder: Path, *, show_log: bool = False) -> Loaded:
    """Compile and load every program; maps pinned in `folder` are used again, the others made and pinned.

    CannotRun where the machine lacks something or a pinned map has another layout; with `show_log` the compiler's and
    the verifier's whole text is part of the message, else its last lines.
    """
    text = source.program(folder).encode()
    try:
        done = processes.run([sys.executable, "-m", _COMPILER, str(folder)], stdin=text, check=False)
        answer = _answer(done.stdout, done.stderr.decode(errors="replace"), show_log)
        programs = {name: libbpf.open_pin(folder / f"prog-{name}") for name in HOOKS}
    finally:
        for name in HOOKS:  # a pin would keep it when its links have gone
            (folder / f"prog-{name}").unlink(missing_ok=True)
    tables = {name: _layout(name, folder, *described) for name, described in answer.items()}
    return Loaded(programs, tables, {name: libbpf.open_pin(folder / name) for name in RAW})


_COMPILER = "meshlab.dataplanes.sidecarless.kernel"


def _answer(out: bytes, log: str, show_log: bool) -> dict[str, Any]:
    told = log if show_log else "\n".join(log.splitlines()[-8:])
    try:
        answer = json.loads(out.splitlines()[-1])
        layouts: dict[str, Any] | None = answer.get("layouts")
    except (IndexError, ValueError):
        answer, layouts = {"error": "the compiler of the kernel programs ended", "hint": ""}, None
    if layouts is None:
        hint = answer["hint"] or "meshlab doctor shows what is missing"
        raise CannotRun(f"{answer['error']}\n{told}".rstrip(), hint=hint)
    return layouts


def _layout(name: str, folder: Path, key: Any, leaf: Any) -> Layout:
    found = Layout(name, libbpf.open_pin(folder / name), ctype(key), ctype(leaf))
    if name != "events":  # a ring buffer has neither keys nor values
        _check(found)
    return found


def ctype(described: Any) -> type[Any]:
    """bcc's description of a C type as ctypes: a word, or [name, [[field, type, [length]?] ...], kind]."""
    if isinstance(described, str):
        word: type[Any] = _WORDS[described]
        return word
    name, members, _ = described
    fields = [
        (member[0], ctype(member[1]) * member[2][0] if len(member) > 2 else ctype(member[1])) for member in members
    ]
    return type(name, (ctypes.Structure,), {"_pack_": 1, "_fields_": fields})


def _check(layout: Layout) -> None:
    """bcc does not compare a pinned map with the text: a map of an older layout would be read as this one."""
    info = libbpf.map_info(layout.descriptor)
    wanted = ctypes.sizeof(layout.key)
    if info.key_size != wanted or (layout.name not in _PER_CPU and info.value_size != ctypes.sizeof(layout.leaf)):
        raise CannotRun(
            f"the pinned map {layout.name} has another layout ({info.key_size}+{info.value_size} bytes)",
            hint="meshlab down removes it; SCHEMA in bpf/include/types.h must grow with every change of a map",
        )


def verified_instructions(descriptor: int) -> int:
    """How many instructions the verifier walked through for a program; the kernel's limit is a million."""
    return _told(descriptor, "verified_insns")


def run_time_ns(descriptor: int) -> int:
    """How long a program has run, on all CPUs, while sysctl kernel.bpf_stats_enabled was 1."""
    return _told(descriptor, "run_time_ns")


def memory_bytes(descriptor: int) -> int:
    """What a map takes of the kernel's memory now; a hash grows with its elements."""
    return _told(descriptor, "memlock")


def _told(descriptor: int, name: str) -> int:
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
