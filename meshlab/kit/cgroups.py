"""cgroup v2: find it, make groups, end all that is in one, read what it used."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from meshlab.errors import CannotRun


def mount_point() -> Path:
    """Where cgroup v2 is mounted (in a hybrid layout: /sys/fs/cgroup/unified). CannotRun if nowhere."""
    for line in Path("/proc/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    raise CannotRun("cgroup v2 is not mounted", hint="mount -t cgroup2 none /sys/fs/cgroup/unified")


def lab_group(lab: str) -> Path:
    """The cgroup below which every process of a lab lives."""
    return mount_point() / f"meshlab-{lab}"


def pods_group(lab: str, node: str) -> Path:
    """The cgroup below which the pods of a node live, and nothing else."""
    return lab_group(lab) / "pods" / node


def node_group(lab: str, node: str) -> Path:
    """The cgroup of what runs once on a node, a group below it for each part."""
    return lab_group(lab) / "nodes" / node


def remove(group: Path) -> None:
    """End every process in the group and below (cgroup.kill), then remove it. Fine if it is gone."""
    if not group.is_dir():
        return
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + 5
    while group.is_dir() and time.monotonic() < deadline:
        folders = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
        for folder in (*folders, group):
            with contextlib.suppress(OSError):
                folder.rmdir()
        if group.is_dir():
            time.sleep(0.01)


def pids(group: Path) -> list[int]:
    """Every process in the group and below."""
    found: list[int] = []
    for path in (group, *(p for p in group.rglob("*") if p.is_dir())):
        with contextlib.suppress(OSError):
            found += [int(word) for word in (path / "cgroup.procs").read_text().split()]
    return found


def cpu_seconds(group: Path) -> float:
    """CPU seconds used by the group and below since it was made (cpu.stat usage_usec)."""
    try:
        for line in (group / "cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec"):
                return int(line.split()[1]) / 1e6
    except OSError:
        pass
    return 0.0
