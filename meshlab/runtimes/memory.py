"""`MemoryRuntime`: the shipped fake. The real store and controllers over pods that are only words.

For tests of all that stands above a runtime, without root: documents are kept and validated, Deployments roll,
Services get addresses, pods become ready at once (or when the test says so); nothing runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from meshlab.errors import NotFound, TimedOut
from meshlab.model.ids import Ref
from meshlab.model.settings import Settings
from meshlab.model.world import Endpoint, PodId
from meshlab.runtimes.base import Change, ExecResult, Manifest, Observed, PodStatus, ResourceSample
from meshlab.runtimes.local import admission, deployments
from meshlab.runtimes.local.pod import PodSpec
from meshlab.runtimes.local.store import Store

Answer = ExecResult | Callable[[PodId, bytes], Awaitable[ExecResult]]
"""What a command gives: always the same, or what a function makes of the pod and stdin."""
_LONG_S = 1e9


@dataclass
class _Pod:
    spec: PodSpec
    endpoint: Endpoint
    started: float
    logs: dict[str, list[bytes]] = field(default_factory=dict)


class MemoryRuntime:
    """A `Runtime` without machinery. `answers`: what `exec` gives for a command (others: 127, as a shell says).
    `auto_ready=False` leaves new pods unready until `set_ready`. `executing`: commands under way."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        answers: Mapping[tuple[str, ...], Answer] | None = None,
        auto_ready: bool = True,
    ) -> None:
        self._settings = settings or Settings()
        self._nodes = [f"node-{i}" for i in range(1, self._settings.nodes + 1)]
        self._answers, self._auto_ready = dict(answers or {}), auto_ready
        self._store = Store(None)
        self._pods: dict[PodId, _Pod] = {}
        self._made = 0
        self._news = asyncio.Condition()
        self.executing = 0

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
        return [_status(self._pods[pod]) for pod in sorted(self._pods)]

    async def exec(
        self, pod: PodId, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None
    ) -> ExecResult:
        self._pod(pod)
        answer = self._answers.get(tuple(command), ExecResult(127, b"", f"{command[0]}: not found\n".encode()))
        if isinstance(answer, ExecResult):
            return answer
        self.executing += 1
        try:
            return await asyncio.wait_for(answer(pod, stdin), timeout_s)
        except TimeoutError:
            raise TimedOut(f"{command[0]} in {pod} did not end in {timeout_s:g} s; it was ended") from None
        finally:
            self.executing -= 1

    async def logs(self, pod: PodId, *, container: str = "", follow: bool = False) -> AsyncIterator[bytes]:
        known = self._pod(pod)
        names = [one.name for one in known.spec.template.containers]
        if container and container not in names:
            raise NotFound(f"no log of container {container!r}", hint=f"logs of this pod: {', '.join(names)}")
        lines = known.logs.setdefault(container or names[0], [])
        given = 0
        while given < len(lines) or follow:
            async with self._news:
                await self._news.wait_for(lambda: len(lines) > given)  # noqa: B023 (awaited here)
            yield lines[given]
            given += 1

    async def resources(self) -> list[ResourceSample]:
        return [
            ResourceSample("application", pod.namespace, pod.name, known.spec.node, 1, 0.0, 0, 0)
            for pod, known in sorted(self._pods.items())
        ]

    async def down(self) -> None:
        self._store.clear()
        await self._settle()

    # what a test may turn

    async def set_ready(self, pod: PodId, ready: bool) -> None:
        """Let a pod become ready, or fail its readiness."""
        known = self._pod(pod)
        known.endpoint = replace(known.endpoint, ready=ready)
        await self._settle()

    async def log(self, pod: PodId, line: str, *, container: str = "") -> None:
        """Write a line to a pod's log."""
        known = self._pod(pod)
        known.logs.setdefault(container or known.spec.template.containers[0].name, []).append(line.encode() + b"\n")
        async with self._news:
            self._news.notify_all()

    # inside

    def _pod(self, pod: PodId) -> _Pod:
        try:
            return self._pods[pod]
        except KeyError:
            raise NotFound(f"no pod {pod}", hint="meshlab get pods") from None

    def _observed(self) -> Observed:
        endpoints = tuple(self._pods[pod].endpoint for pod in sorted(self._pods))
        manifests = tuple(self._store.manifests.values())
        return Observed(self._store.revision, manifests, endpoints, dict(self._store.cluster_ips))

    async def _settle(self) -> None:
        """Take the controllers' steps until there are none; each ends at once here."""
        while True:
            specs = [known.spec for known in self._pods.values()]
            ready_s = {pod: _LONG_S for pod, known in self._pods.items() if known.endpoint.ready}
            steps = deployments.plan(self._store.mesh, specs, (), ready_s, self._nodes, self._settings.mode)
            if not steps.start and not steps.stop:
                break
            for pod in steps.stop:
                del self._pods[pod]
            for spec in steps.start:
                self._pods[spec.pod] = _Pod(spec, self._endpoint(spec), time.time())
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


def _status(pod: _Pod) -> PodStatus:
    spec, endpoint = pod.spec, pod.endpoint
    images = tuple(container.image for container in spec.template.containers)
    return PodStatus(
        spec.pod, spec.uid, "Running", endpoint.ready, 0, spec.node, endpoint.ip, spec.mode, spec.workload,
        spec.template.service_account, images, pod.started,
    )  # fmt: skip
