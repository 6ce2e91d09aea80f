"""The only room that knows bcc: compile the programs, load them, give out descriptors and the layouts of the maps.

bcc is Debian's (python3-bpfcc, pure ctypes; the `bcc` of PyPI is another thing), so it is imported from Debian's folder
even inside a virtual environment, and only when it is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from meshlab.dataplanes.sidecarless import headers, libbpf, source
from meshlab.errors import CannotRun

_DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")
_HOW_TO_GET = "apt-get install python3-bpfcc linux-headers-amd64"
_FLAGS = ("-Wno-everything", "-O2")


@dataclass(frozen=True)
class Hook:
    """How a program is loaded and where it goes (numbers of enum bpf_prog_type and bpf_attach_type)."""

    program_type: int
    attach_type: int


HOOKS: Mapping[str, Hook] = {
    "connect4": Hook(18, 10),
    "connect6": Hook(18, 11),
    "getpeername4": Hook(18, 29),
    "getpeername6": Hook(18, 30),
    "sock_create": Hook(9, 2),
    "life": Hook(13, 3),
    "listen": Hook(13, 3),
    "getsockopt": Hook(25, 21),
    "lookup": Hook(30, 36),
    "message": Hook(16, 7),
}


@dataclass(frozen=True)
class Layout:
    """One map: its descriptor, and the ctypes that bcc derived from the C structures."""

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
    """Descriptors of the maps without a layout (sockets, ring buffer)."""
    event: type[Any]
    """A record of the ring buffer."""
    module: Any
    """Keeps bcc's descriptors open."""

    def close(self) -> None:
        """Close every descriptor; what is pinned stays."""
        self.module.cleanup()


@functools.cache
def _bcc() -> ModuleType:
    folder = _DIST_PACKAGES / "bcc"
    spec = importlib.util.spec_from_file_location(
        "bcc", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not folder.is_dir():
        raise CannotRun("the sidecarless plane needs Debian's bcc bindings", hint=_HOW_TO_GET)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        del sys.modules["bcc"]
        raise CannotRun(f"bcc cannot be loaded: {error}", hint=_HOW_TO_GET) from error
    return module


_TABLES = (
    "counters",
    "current",
    "pods",
    "addresses",
    "services",
    "backends",
    "endpoints",
    "rules",
    "flows",
    "originals",
    "edges",
    "paths",
)
_PER_CPU = ("counters", "edges")
_RAW = ("listeners", "pairs", "events", "sockets", "blank_edge")


def load(pin_folder: Path, *, show_log: bool = False) -> Loaded:
    """Compile and load every program; maps pinned in `pin_folder` are used again, the others made and pinned.

    CannotRun where the machine lacks something or a pinned map has another layout; with `show_log` the compiler's and
    the verifier's whole text is part of the message, else its last lines.
    """
    bcc = _bcc()
    offsets = libbpf.kernel_offsets("tcp_sock", ("write_seq", "copied_seq"))
    defines = [f"-DOFFSET_{name.upper()}={offset}" for name, offset in offsets.items()]
    with _captured() as log, headers.prepared() as tree:
        try:
            with _environment(headers.VARIABLE, str(tree)):
                module = bcc.BPF(text=source.program(pin_folder).encode(), cflags=[*_FLAGS, *defines])
            programs = {
                name: int(module.load_func(name.encode(), hook.program_type, attach_type=_attach_type(hook)).fd)
                for name, hook in HOOKS.items()
            }
        except Exception as error:  # bcc raises nothing narrower
            raise CannotRun(f"{error}\n{_told(log, show_log)}", hint="meshlab doctor shows what is missing") from error
    return _described(bcc, module, programs)


def verified_instructions(descriptor: int) -> int:
    """How many instructions the verifier walked through for a program; the kernel's limit is a million."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("verified_insns"))


def _attach_type(hook: Hook) -> int:
    return -1 if hook.program_type in (13, 16) else hook.attach_type


def _described(bcc: ModuleType, module: Any, programs: dict[str, int]) -> Loaded:
    tables = {}
    for name in _TABLES:
        table = module[name.encode()]
        layout = Layout(name, int(table.map_fd), table.Key, _leaf(table))
        _check(layout)
        tables[name] = layout
    raw = {name: int(bcc.lib.bpf_table_fd(module.module, name.encode())) for name in _RAW}
    return Loaded(programs, tables, raw, module[b"events"].Leaf, module)


def _leaf(table: Any) -> type[Any]:
    """Of a per-CPU map bcc gives the array over the CPUs; the layout is that of one."""
    found: type[Any] = getattr(table, "sLeaf", None) or table.Leaf
    return found


def _check(layout: Layout) -> None:
    """bcc does not compare a pinned map with the text: a map of an older layout would be read as this one."""
    info = libbpf.map_info(layout.descriptor)
    wanted = ctypes.sizeof(layout.key)
    if info.key_size != wanted or (layout.name not in _PER_CPU and info.value_size != ctypes.sizeof(layout.leaf)):
        raise CannotRun(
            f"the pinned map {layout.name} has another layout ({info.key_size}+{info.value_size} bytes)",
            hint="meshlab down removes it; SCHEMA in bpf/include/types.h must grow with every change of a map",
        )


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _captured() -> Iterator[Any]:
    """What bcc's C++ writes to descriptor 2, kept from the terminal."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        kept = os.dup(2)
        try:
            os.dup2(log.fileno(), 2)
            yield log
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _told(log: Any, whole: bool) -> str:
    log.seek(0)
    text = log.read().decode(errors="replace")
    return text if whole else "\n".join(text.splitlines()[-8:])
