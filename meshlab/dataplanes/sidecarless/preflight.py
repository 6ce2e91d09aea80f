"""What the kernel plane needs of a machine, looked up without loading anything."""

from __future__ import annotations

import os
from pathlib import Path

from meshlab.dataplanes.sidecarless import headers, libbpf
from meshlab.errors import CannotRun

_TYPES = Path("/sys/kernel/btf/vmlinux")


def missing() -> list[tuple[str, str]]:
    """(what, the way out) of each thing that is not there. What a kernel refuses only shows when it is asked: the
    agent's log tells then."""
    found = []
    if not headers.BINDINGS.is_dir():
        found.append(("Debian's bcc bindings", "apt-get install python3-bpfcc"))
    if not (os.environ.get(headers.VARIABLE) or headers.trees()):
        found.append(("kernel headers (of any version)", "apt-get install linux-headers-amd64"))
    if not _TYPES.exists():
        found.append((f"the kernel's own types ({_TYPES})", "a kernel with CONFIG_DEBUG_INFO_BTF"))
    if not _has_libbpf():
        found.append(("libbpf", "apt-get install libbpf1"))
    return found


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
