"""What the kernel plane needs of a machine: looked up, and asked of the kernel by its smallest programs and maps."""

from __future__ import annotations

import os
import re
from pathlib import Path

from meshlab.dataplanes.sidecarless import headers, libbpf
from meshlab.errors import CannotRun

_TYPES = Path("/sys/kernel/btf/vmlinux")
_FEATURES = (
    ("prog_type", 18, "connect and getpeername programs of cgroups", "5.8"),
    ("prog_type", 9, "socket programs of cgroups", "4.10"),
    ("prog_type", 13, "sockops programs", "4.13"),
    ("prog_type", 25, "getsockopt programs of cgroups", "5.3"),
    ("prog_type", 30, "sk_lookup programs", "5.9"),
    ("prog_type", 8, "packet programs of cgroups", "4.10"),
    ("map_type", 27, "ring buffers", "5.8"),
    ("map_type", 24, "storage of sockets", "5.2"),
    ("map_type", 18, "hashes of sockets", "4.18"),
)
"""What the plane cannot do without: how libbpf asks for it, its number in enum bpf_prog_type or bpf_map_type, its name,
and the first Linux that has all that the programs use of it. (What libbpf says of helpers is no help.)"""
_TCX = (6, 6)


def missing() -> list[tuple[str, str]]:
    """(what, the way out) of each thing that is not there. The kernel is asked only as root."""
    found = []
    if not headers.BINDINGS.is_dir():
        found.append(("Debian's bcc bindings", "apt-get install python3-bpfcc"))
    if not (os.environ.get(headers.VARIABLE) or headers.trees()):
        found.append(("kernel headers (of any version)", "apt-get install linux-headers-amd64"))
    if not _TYPES.exists():
        found.append((f"the kernel's own types ({_TYPES})", "a kernel with CONFIG_DEBUG_INFO_BTF"))
    if not _has_libbpf():
        found.append(("libbpf", "apt-get install libbpf1"))
    elif os.geteuid() == 0:
        found += _unsupported()
    return found


def _unsupported() -> list[tuple[str, str]]:
    """(what, the way out) of each feature that this kernel does not have."""
    found = [
        (name, f"Linux {since} or newer") for kind, number, name, since in _FEATURES if not _supports(kind, number)
    ]
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < _TCX:
        found.append(("links of programs to interfaces (tcx)", f"Linux {'.'.join(map(str, _TCX))} or newer"))
    return found


def _supports(kind: str, number: int) -> bool:
    try:
        return libbpf.supports(kind, number)
    except OSError:  # it does not say: then only loading tells
        return True


def require() -> None:
    """CannotRun with all that is missing, and with what works all the same."""
    found = missing()
    if found:
        raise CannotRun(
            f"the sidecarless plane cannot run here, it lacks {', '.join(what for what, _ in found)}",
            hint=f"{'; '.join(way for _, way in found)}; meshlab.io/mode: sidecar and none work without",
        )


def _has_libbpf() -> bool:
    try:
        libbpf.library()
    except CannotRun:
        return False
    return True
