"""One pod's walls: cgroup, network, mount and UTS namespaces, its own resolv.conf, hosts and hostname."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshlab.errors import CannotRun
from meshlab.kit import cgroups, processes
from meshlab.kit.processes import Proc
from meshlab.model.world import PodId

_PAUSE = """hostname "$1" && for f in resolv.conf hosts hostname; do mount --bind "$0/$f" "/etc/$f" || exit 1; done
: > "$0/up"; exec sleep infinity"""
_BASE_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Sandbox:
    """`folder` holds the pod's files; `group` its cgroup; `netns` the path of its network namespace."""

    pod: PodId
    folder: Path
    group: Path
    netns: str
    pause: Proc

    def enter(self, part: str, command: Sequence[str]) -> list[str]:
        """The command inside the pod, in the cgroup of a part (app, envoy, exec)."""
        group = self.group / part
        group.mkdir(parents=True, exist_ok=True)
        inside = ["nsenter", "-t", str(self.pause.pid), "-m", "-u", "-n", "--wd=/", "--", *command]
        return processes.joined(group, inside)


async def create(pod: PodId, folder: Path, group: Path, netns: str, ip: str, gateway: str) -> Sandbox:
    """Files, cgroup and the process that holds the namespaces; ready when this returns."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    group.mkdir(parents=True, exist_ok=True)
    search = f"{pod.namespace}.svc.cluster.local svc.cluster.local cluster.local"
    files = {
        "resolv.conf": f"nameserver {gateway}\nsearch {search}\noptions ndots:5 timeout:2\n",
        "hosts": f"127.0.0.1 localhost\n{ip} {pod.name}\n",
        "hostname": f"{pod.name}\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    for name in ("hosts", "hostname"):
        if not Path("/etc", name).exists():
            raise CannotRun(f"/etc/{name} is missing on this machine", hint=f"touch /etc/{name}")
    (folder / "up").unlink(missing_ok=True)
    hold = ["nsenter", f"--net={netns}", "unshare", "--mount", "--uts", "--propagation", "private", "/bin/sh", "-c"]
    (group / "pause").mkdir(exist_ok=True)
    pause = processes.spawn(
        processes.joined(group / "pause", [*hold, _PAUSE, str(folder), pod.name]), log=folder / "pause.log"
    )
    for _ in range(500):
        if (folder / "up").exists():
            return Sandbox(pod, folder, group, netns, pause)
        if not pause.alive():
            break
        await asyncio.sleep(0.01)
    raise CannotRun(f"no sandbox for {pod}: {(folder / 'pause.log').read_text().strip()}", hint="meshlab doctor")


def environment(env: dict[str, str]) -> dict[str, str]:
    """A clean environment: nothing of ours but what a Python of a virtual environment needs."""
    keep = {name: os.environ[name] for name in ("PYTHONDONTWRITEBYTECODE",) if name in os.environ}
    return {**_BASE_ENV, **keep, **env}


def remove(sandbox_group: Path) -> None:
    """End every process of the pod; its mounts go with them."""
    cgroups.remove(sandbox_group)
