"""Where a node's programs live on after their agent: `/sys/fs/bpf/meshlab/<lab>/<node>/v<schema>/`.

Maps are pinned under their names, links under `link-<hook>`. What is pinned goes on working without any process; to
remove the pins is to remove the plane.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from meshlab.dataplanes.sidecarless import libbpf, source
from meshlab.dataplanes.sidecarless.hooks import HOOKS
from meshlab.errors import CannotRun
from meshlab.kit import bpffs, processes

_LINK = "link-"
_TCX_INGRESS = HOOKS["peer"].attach_type


def folder(lab: str, node: str) -> Path:
    """The folder of this schema's pins, made if it is not there. CannotRun if bpffs cannot be mounted."""
    if not _mounted():
        done = processes.run(["mount", "-t", "bpf", "bpf", str(bpffs.ROOT)], check=False)
        if done.returncode:
            why = done.stderr.decode().strip()
            raise CannotRun(f"bpffs cannot be mounted: {why}", hint=f"mount -t bpf bpf {bpffs.ROOT}")
    found = bpffs.pins_of(lab) / node / f"v{source.schema()}"
    found.mkdir(parents=True, exist_ok=True)
    return found


def _mounted() -> bool:
    mounts = Path("/proc/mounts").read_text().splitlines()
    return any(line.split()[1:3] == [str(bpffs.ROOT), "bpf"] for line in mounts)


def remove(lab: str, node: str) -> None:
    """Remove every pin of a node, of any schema. Fine if there is none."""
    bpffs.remove(bpffs.pins_of(lab) / node)


class Links:
    """The pinned links of one node. A link that is there is taken over: its program is replaced without a gap."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, name: str) -> Path:
        return self._folder / f"{_LINK}{name}"

    def put(self, name: str, program: int, target: int, attach_type: int) -> bool:
        """Attach to a descriptor (or, for network links, to the number of an interface here), or take over; True if it
        was made anew. OSError where the kernel refuses."""
        if self._taken_over(name, program, target if attach_type == _TCX_INGRESS else os.fstat(target).st_ino):
            return False
        link = libbpf.link_create(program, target, attach_type)
        try:
            libbpf.pin(link, self._path(name))
        finally:
            os.close(link)
        return True

    def _taken_over(self, name: str, program: int, target: int) -> bool:
        """False, and no pin left, where there was none or its cgroup or namespace has died or is another."""
        try:
            link = libbpf.open_pin(self._path(name))
        except FileNotFoundError:
            return False
        try:
            if libbpf.link_target(link) in (0, target):
                libbpf.link_update(link, program)
                return True
        except OSError as error:
            if error.errno != errno.ENOLINK:
                raise
        finally:
            os.close(link)
        self.drop(name)
        return False

    def drop(self, name: str) -> None:
        """Detach, at once: what only loses its last pin the kernel detaches a little later. Fine if it is not there."""
        with contextlib.suppress(OSError):
            link = libbpf.open_pin(self._path(name))
            try:
                libbpf.link_detach(link)
            finally:
                os.close(link)
        self._path(name).unlink(missing_ok=True)
