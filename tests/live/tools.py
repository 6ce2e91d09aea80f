"""What the live tests share: calls from inside pods, processes of a lab, what a lab must not leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from meshlab import Lab
from meshlab.assets import sample_text
from meshlab.kit import bpffs, cgroups
from meshlab.kit.layout import Layout

GET = "import urllib.request,sys; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


def call(lab: Lab, source: str, url: str, namespace: str = "shop") -> dict[str, Any]:
    """GET from inside a pod; the JSON that an echo answered."""
    done = lab.exec(source, ["python3", "-c", GET, url], namespace=namespace)
    assert done.exit_code == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


def ip_of(lab: Lab, workload: str) -> str:
    """The address of a workload's only pod."""
    [found] = [pod.ip for pod in lab.pods() if pod.workload == workload]
    return found


def daemon_pid(lab: Lab, module: str) -> int:
    """The daemon of this lab that runs a module."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if module in words and lab.settings.name in words:
            return int(process.pid)
    raise AssertionError(f"no {module} of {lab.settings.name}")


def proxy_pids(lab: Lab) -> dict[str, int]:
    """The Envoy of each pod that has one (by namespace/pod), and of each node that has one (by /node)."""
    root, found = cgroups.lab_group(lab.settings.name), {}
    pods = lab.pods()
    groups = {str(p.pod): root / "pods" / p.node / f"{p.pod.namespace}_{p.pod.name}" / "envoy" for p in pods}
    groups |= {f"/{pod.node}": root / "nodes" / pod.node / "envoy" for pod in pods}
    for name, group in groups.items():
        pids = cgroups.pids(group) if group.is_dir() else []
        if pids:
            found[name] = pids[0]
    return found


def agent_pids(lab: Lab) -> list[int]:
    """The agent of each node that has one."""
    nodes = sorted({pod.node for pod in lab.pods()})
    return [pid for node in nodes for pid in cgroups.pids(cgroups.node_group(lab.settings.name, node) / "agent")]


def counters(lab: Lab) -> dict[str, int]:
    """The kernel's own, of all nodes."""
    found = lab.counters().groupby("counter")["value"].sum().filter(like="kernel.")
    return {str(name).removeprefix("kernel."): int(value) for name, value in found.items()}


def rows_of(lab: Lab, path: str) -> pd.DataFrame:
    """The flow rows with this path."""
    found = lab.flows()
    return found[found["path"] == path]


def shop_as(mode: str) -> str:
    """The shop's documents with another plane."""
    return sample_text("shop").replace("meshlab.io/mode: sidecar", f"meshlab.io/mode: {mode}")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


class Load:
    """Traffic on a thread of its own while something happens: `with Load(lab, ...) as load: ...`; afterwards its
    `summary` and `frame`."""

    def __init__(self, lab: Lab, source: str, url: str, **options: Any) -> None:
        self.summary: dict[str, Any] = {}
        self.frame = pd.DataFrame()
        self._thread = threading.Thread(target=lambda: self._run(lab, source, url, options))

    def _run(self, lab: Lab, source: str, url: str, options: dict[str, Any]) -> None:
        done = lab.traffic(source, url, **options)
        self.summary, self.frame = done.summary, done.frame

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def left_of(name: str) -> list[str]:
    """Everything on this machine that still belongs to a lab."""
    found = [f"netns {line}" for line in _words(["ip", "netns"]) if line.startswith(f"ml-{name}-")]
    found += [f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if f"/meshlab/{name}/" in line]
    found += [f"process {p.pid}" for p in psutil.process_iter(["cmdline"]) if name in (p.info["cmdline"] or [])]
    root = Layout.of(name).root
    found += [f"process {p.pid} of {root}" for p in psutil.process_iter(["cmdline"])
              if any(str(root) in word for word in p.info["cmdline"] or [])]  # fmt: skip
    pins = bpffs.pins_of(name)
    found += [str(path) for path in (root, cgroups.lab_group(name), pins) if path.exists()]
    found += [f"link {line}" for line in _words(["ip", "-o", "link"]) if f"ml-{name}" in line]
    return found


def _words(command: list[str]) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
