"""All pods of all nodes of a lab: started, adopted after a restart of the daemon, stopped, measured."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from meshlab.errors import CannotRun, MeshlabError, NotFound, TimedOut
from meshlab.kit import cgroups, processes
from meshlab.kit.files import write_whole
from meshlab.kit.layout import Layout
from meshlab.kit.ledger import Ledger
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId
from meshlab.runtimes.base import ExecResult, PodHooks, PodStatus, ResourceSample
from meshlab.runtimes.local import companions, sandbox
from meshlab.runtimes.local.network import Network
from meshlab.runtimes.local.nodes import Node
from meshlab.runtimes.local.pod import LivePod, PodSpec, State


class Kubelet:
    """Runs what it is told to; decides nothing about what should run."""

    def __init__(
        self, layout: Layout, network: Network, ledger: Ledger, hooks: PodHooks, on_change: Callable[[], None]
    ) -> None:
        self._layout, self._network, self._ledger, self._hooks = layout, network, ledger, hooks
        self._on_change = on_change
        self._pods: dict[PodId, LivePod] = {}
        self._nodes = {name: Node(name, layout, network) for name in network.nodes}
        self._stops: dict[PodId, asyncio.Task[None]] = {}
        self._numbers = layout.pods / "number"
        """The highest pod number so far, over restarts of the daemon: an address is not soon given to another pod."""
        self._number = 0

    def start(self) -> None:
        """Adopt the pods that a former daemon left running."""
        self._layout.pods.mkdir(exist_ok=True, mode=0o711)
        if self._numbers.exists():
            self._number = int(self._numbers.read_text())
        for path in sorted(self._layout.pods.glob("*/state")):
            state: State = pickle.loads(path.read_bytes())
            self._number = max(self._number, state.number)
            self._take(state)

    def _take(self, state: State) -> None:
        group = cgroups.pods_group(self._layout.name, state.spec.node)
        pod = LivePod(state, self._layout.pods, self._layout.logs, group, self._network, self._hooks, self._on_change)
        self._pods[state.spec.pod] = pod
        spec = state.spec
        try:
            self._nodes[spec.node].want(self._hooks.node(spec.node, spec.mode))
        except CannotRun as error:
            pod.fail(str(error))
            return
        pod.begin()

    def run(self, spec: PodSpec) -> None:
        """Start a pod unless it is there; its life goes on in the background."""
        if spec.pod in self._pods:
            return
        self._number += 1
        write_whole(self._numbers, str(self._number).encode())
        self._take(State(spec, self._number, self._network.pod_ip(spec.node, self._number)))

    def stop(self, pod: PodId) -> None:
        """Begin the end of a pod; it is gone from `specs` when nothing of it is left."""
        if pod in self._pods and pod not in self._stops:
            self._stops[pod] = asyncio.ensure_future(self._stop(pod))

    async def _stop(self, pod: PodId) -> None:
        await self._pods[pod].stop()
        del self._pods[pod]
        del self._stops[pod]
        self._on_change()

    def specs(self) -> list[PodSpec]:
        return [pod.state.spec for pod in self._pods.values()]

    def leaving(self, pod: PodId) -> bool:
        return pod in self._stops

    def statuses(self) -> list[PodStatus]:
        return [self._pods[pod].status() for pod in sorted(self._pods)]

    def endpoints(self) -> list[Endpoint]:
        return [self._pods[pod].endpoint() for pod in sorted(self._pods)]

    def set_service_nat(self, rules: str) -> None:
        """The rules by which pods without a proxy reach ClusterIPs; loaded where they changed."""
        for pod in self._pods.values():
            state = pod.state
            if state.spec.mode is Mode.NONE and state.walls is not None and pod.nat != rules:
                pod.nat = rules
                self._network.load(state.number, rules)

    async def exec(
        self, pod: PodId, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None
    ) -> ExecResult:
        enter, env = self._place(pod)
        if not command or any("\0" in word for word in command):
            raise MeshlabError(
                "a command is at least one word, none of them with a NUL byte", hint="use stdin for bytes"
            )
        try:
            code, out, err = await processes.communicate(
                enter("exec", command), stdin=stdin, timeout_s=timeout_s, env=env
            )
        except TimeoutError:
            raise TimedOut(f"{command[0]} in {pod} did not end in {timeout_s:g} s; it was ended") from None
        return ExecResult(code, out, err)

    def _place(self, pod: PodId) -> tuple[companions.Enter, Mapping[str, str]]:
        """Into a pod, with its environment; without a namespace: into the node of that name."""
        if not pod.namespace and pod.name in self._nodes:
            return self._nodes[pod.name].enter, sandbox.environment({})
        live = self._live(pod)
        if live.state.walls is None:
            raise NotFound(f"pod {pod} is not running yet", hint="meshlab get pods")
        return live.state.walls.enter, live.environment()

    def log_path(self, pod: PodId, container: str) -> Path:
        live = self._live(pod)
        if "/" in container:
            raise NotFound(f"no container {container!r} in {pod}", hint="containers: see the pod's document")
        return live.logs / f"{container or live.state.spec.template.containers[0].name}.log"

    def _live(self, pod: PodId) -> LivePod:
        try:
            return self._pods[pod]
        except KeyError:
            raise NotFound(f"no pod {pod}", hint="meshlab get pods") from None

    def resources(self) -> list[ResourceSample]:
        """One sample per application, per proxy, and per daemon."""
        lab = cgroups.lab_group(self._layout.name)
        found = []
        for live in self._pods.values():
            spec = live.state.spec
            group = cgroups.pods_group(self._layout.name, spec.node) / f"{spec.pod.namespace}_{spec.pod.name}"
            for part, name in (("app", "application"), ("envoy", "proxy")):
                if (group / part).is_dir():
                    found.append(_sample(name, group / part, spec.pod.namespace, spec.pod.name, spec.node))
        for node in self._nodes.values():
            for name, group in node.parts().items():
                found.append(_sample("node-proxy" if name == "envoy" else name, group, "", "", node.name))
        for part in ("cluster", "control-plane"):
            found.append(_sample(part, lab / "system" / part, "", "", ""))
        return found

    def close(self) -> None:
        """Stop watching; pods run on."""
        for pod in self._pods.values():
            pod.detach()
        for node in self._nodes.values():
            node.close()


def _sample(part: str, group: Path, namespace: str, pod: str, node: str) -> ResourceSample:
    pids = cgroups.pids(group)
    pss = rss = 0
    for pid in pids:
        try:
            info = psutil.Process(pid).memory_full_info()
            pss, rss = pss + info.pss, rss + info.rss
        except psutil.Error:
            continue
    return ResourceSample(part, namespace, pod, node, len(pids), cgroups.cpu_seconds(group), pss, rss)
