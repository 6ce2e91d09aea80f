"""`MemoryRuntime`: the shipped fake. The real store and controllers over pods that are only words.

For tests of all that stands above a runtime, without root: documents are kept and validated,
Deployments roll, Services get addresses, pods become ready at once (or when the test says so); nothing runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from meshlab.errors import NotFound, TimedOut
from meshlab.model.ids import Ref
from meshlab.model.settings import Settings
from meshlab.model.world import Endpoint, PodId
from meshlab.runtimes.base import Change, ExecResult, Manifest, Observed, PodStatus, ResourceSample
from meshlab.runtimes.local import admission, deployments
from meshlab.runtimes.local.pod import PodSpec
from meshlab.runtimes.local.store import Store

Exec = Callable[[PodId, Sequence[str], bytes], Awaitable[ExecResult]]


async def _echo(_: PodId, command: Sequence[str], stdin: bytes) -> ExecResult:
    return ExecResult(0, stdin or " ".join(command).encode() + b"\n", b"")


class MemoryRuntime:
    """A `Runtime` without machinery. `execute` answers `exec` (default: gives back stdin, or the command's words);
    `auto_ready=False` leaves new pods unready until `set_ready`."""

    def __init__(self, settings: Settings | None = None, *, execute: Exec = _echo, auto_ready: bool = True) -> None:
        self._settings = settings or Settings()
        self._nodes = [f"node-{i}" for i in range(1, self._settings.nodes + 1)]
        self._execute, self._auto_ready = execute, auto_ready
        self._store = Store(None)
        self._pods: dict[PodId, tuple[PodSpec, Endpoint, float]] = {}
        self._logs: dict[tuple[PodId, str], list[bytes]] = {}
        self._made = 0
        self._pending: tuple[str, ...] = ()
        self._news = asyncio.Condition()

    async def apply(self, manifests: Sequence[Manifest]) -> list[Change]:
        admission.admit(manifests, self._nodes)
        changes = self._store.apply(manifests)
        await self._settle()
        return changes

    async def delete(self, refs: Sequence[Ref]) -> list[Change]:
        changes = self._store.delete(refs)
        await self._settle()
        return changes

    async def watch(self) -> AsyncIterator[Observed]:
        revision = -1
        while True:
            async with self._news:
                await self._news.wait_for(lambda: self._store.revision != revision)  # noqa: B023 (awaited here)
                observed = self._observed()
            revision = observed.revision
            yield observed

    async def pods(self) -> list[PodStatus]:
        return [_status(*self._pods[pod]) for pod in sorted(self._pods)]

    async def exec(
        self, pod: PodId, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None
    ) -> ExecResult:
        self._require(pod)
        try:
            return await asyncio.wait_for(self._execute(pod, command, stdin), timeout_s)
        except TimeoutError:
            raise TimedOut(f"{command[0]} in {pod} did not end in {timeout_s} s; it was ended") from None

    async def logs(self, pod: PodId, *, container: str = "", follow: bool = False) -> AsyncIterator[bytes]:  # noqa: ARG002
        """What `log` wrote; `follow` ends with what there is, as nothing runs that could say more."""
        self._require(pod)
        for line in self._logs.get((pod, container), []):
            yield line

    async def resources(self) -> list[ResourceSample]:
        return [
            ResourceSample("application", pod.namespace, pod.name, spec.node, 1, 0.0, 0, 0)
            for pod, (spec, _, _) in sorted(self._pods.items(), key=lambda item: item[0])
        ]

    async def down(self) -> None:
        self._store = Store(None)
        self._pods.clear()
        await self._settle()

    # what a test may turn

    async def set_ready(self, pod: PodId, ready: bool) -> None:
        """Let a pod become ready, or fail its readiness."""
        self._require(pod)
        spec, endpoint, started = self._pods[pod]
        self._pods[pod] = (spec, replace(endpoint, ready=ready), started)
        await self._settle()

    def log(self, pod: PodId, line: str, *, container: str = "") -> None:
        """Write a line to a pod's log."""
        self._require(pod)
        self._logs.setdefault((pod, container), []).append(line.encode() + b"\n")

    # inside

    def _require(self, pod: PodId) -> None:
        if pod not in self._pods:
            raise NotFound(f"no pod {pod}", hint="meshlab get pods")

    def _observed(self) -> Observed:
        endpoints = tuple(self._pods[pod][1] for pod in sorted(self._pods))
        manifests = tuple(self._store.manifests.values())
        return Observed(self._store.revision, manifests, endpoints, dict(self._store.cluster_ips), self._pending)

    async def _settle(self) -> None:
        """Take the controllers' steps until there are none; each ends at once here."""
        while True:
            specs = [spec for spec, _, _ in self._pods.values()]
            ready_s = {pod: 1e9 for pod, (_, endpoint, _) in self._pods.items() if endpoint.ready}
            steps = deployments.plan(self._store.mesh, specs, (), ready_s, self._nodes, self._settings.mode)
            if not steps.start and not steps.stop:
                break
            for pod in steps.stop:
                del self._pods[pod]
                self._logs = {key: lines for key, lines in self._logs.items() if key[0] != pod}
            for spec in steps.start:
                self._pods[spec.pod] = (spec, self._endpoint(spec), time.time())
        self._pending = tuple(steps.pending)
        self._store.touch()
        async with self._news:
            self._news.notify_all()

    def _endpoint(self, spec: PodSpec) -> Endpoint:
        self._made += 1
        ip = f"10.{128 + self._nodes.index(spec.node) + 1}.{self._made // 250}.{self._made % 250 + 2}"
        template = spec.template
        ports = {port.name: port.container_port for c in template.containers for port in c.ports if port.name}
        return Endpoint(
            spec.pod, spec.uid, ip, spec.node, spec.workload, template.service_account, dict(template.labels),
            spec.mode, ports, self._auto_ready,
        )  # fmt: skip


def _status(spec: PodSpec, endpoint: Endpoint, started: float) -> PodStatus:
    images = tuple(container.image for container in spec.template.containers)
    return PodStatus(
        spec.pod, spec.uid, "Running", endpoint.ready, 0, spec.node, endpoint.ip, spec.mode, spec.workload,
        spec.template.service_account, images, started,
    )  # fmt: skip
