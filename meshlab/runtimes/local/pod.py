"""The life of one pod: walls, rules, companions, application, probes, restarts, a drained end."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshlab.errors import MeshlabError
from meshlab.kit import netns, processes
from meshlab.kit.files import last_words, write_whole
from meshlab.kit.processes import Proc
from meshlab.model.workloads import Container, EnvVar, Mode, PodTemplate, Probe
from meshlab.model.world import Endpoint, PodId
from meshlab.runtimes.base import Companion, PodHooks, PodPlan, PodStatus
from meshlab.runtimes.local import companions, images, probes, sandbox
from meshlab.runtimes.local.network import Network
from meshlab.runtimes.local.sandbox import Sandbox

PROPAGATION_S = 1.5
"""Between "not an endpoint any more" and SIGTERM: time for every proxy to hear of it."""
_BACKOFF_FIRST_S, _BACKOFF_MAX_S, _BACKOFF_RESET_S = 0.5, 30.0, 60.0
_COMPANION_READY_S = 60.0


@dataclass(frozen=True)
class PodSpec:
    """What the cluster wants to run. `revision` is the hash of the template."""

    pod: PodId
    uid: str
    node: str
    workload: str
    mode: Mode
    template: PodTemplate
    revision: str


@dataclass
class State:
    """What must survive the daemon: written to the pod's folder (0600) at every change."""

    spec: PodSpec
    number: int
    ip: str
    walls: Sandbox | None = None
    procs: dict[str, Proc] = field(default_factory=dict)
    restarts: int = 0
    started: float = 0.0


class LivePod:
    """One pod while it lives. `on_change` is called whenever its status or readiness may have changed."""

    def __init__(self, state: State, root: Path, logs: Path, group: Path, network: Network, hooks: PodHooks,
                 on_change: Callable[[], None]) -> None:  # fmt: skip
        pod = state.spec.pod
        self.state = state
        self.folder = root / f"{pod.namespace}_{pod.name}"
        self.logs = logs / f"{pod.namespace}_{pod.name}"
        self._group = group / f"{pod.namespace}_{pod.name}"
        self._network, self._hooks, self._on_change = network, hooks, on_change
        self.phase, self.message = "Pending", ""
        self.terminating = False
        self._companions_ready = False
        self._ready: dict[str, bool] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._plan = PodPlan()
        self.nat = ""

    @property
    def ready(self) -> bool:
        return self.phase == "Running" and not self.terminating and self._companions_ready and all(self._ready.values())

    @property
    def ports(self) -> dict[str, int]:
        return {p.name: p.container_port for c in self.state.spec.template.containers for p in c.ports if p.name}

    def endpoint(self) -> Endpoint:
        spec = self.state.spec
        return Endpoint(
            spec.pod, spec.uid, self.state.ip, spec.node, spec.workload, spec.template.service_account,
            dict(spec.template.labels), spec.mode, self.ports, self.ready, self.terminating,
            self.state.walls.netns if self.state.walls is not None else "",
        )  # fmt: skip

    def status(self) -> PodStatus:
        spec = self.state.spec
        return PodStatus(
            spec.pod, spec.uid, "Terminating" if self.terminating else self.phase, self.ready, self.state.restarts,
            spec.node, self.state.ip, spec.mode, spec.workload, spec.template.service_account,
            tuple(c.image for c in spec.template.containers), self.state.started, self.message,
        )  # fmt: skip

    # life

    def begin(self) -> None:
        """Start it, or take over what a former daemon started."""
        self._task(self._live())

    def fail(self, why: str) -> None:
        """It cannot run here."""
        self._set("Failed", why)

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(coroutine))

    async def _live(self) -> None:
        try:
            self._set("Starting")
            self._plan = self._hooks.plan(self.endpoint())
            if self.state.walls is None or not self.state.walls.pause.alive():
                await self._build()
            for companion in self._plan.companions:
                await self._companion(companion)
            await self._gate()
            self._companions_ready = True
            containers = self.state.spec.template.containers
            for container in containers:
                self._ready[container.name] = container.readiness is None
                self._task(self._supervise(container.name, lambda c=container: self._start_container(c), False))  # type: ignore[misc]
            self._set("Running")
            for container in containers:
                for probe, name in ((container.readiness, "readiness"), (container.liveness, "liveness")):
                    if probe is not None:
                        self._task(self._probe(container, probe, name))
        except (MeshlabError, OSError, TimeoutError) as error:
            self._set("Failed", str(error))

    async def _build(self) -> None:
        state, spec = self.state, self.state.spec
        self.logs.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(sandbox.remove, self._group)  # what is left of a former attempt
        path = await asyncio.to_thread(
            self._network.add_pod, spec.node, state.number, self._plan.rules, self._plan.local_mark
        )
        gateway = self._network.gateway(spec.node)
        state.walls = await sandbox.create(spec.pod, self.folder, self._group, path, state.ip, gateway)
        state.procs.clear()
        state.started = time.time()
        self._save()
        self._on_change()

    async def _companion(self, companion: Companion) -> None:
        """Start it and wait until it answers, then watch over it."""
        self._task(self._supervise(companion.name, lambda: self._start_companion(companion), True))
        await self._wait_ready(companion)

    async def _wait_ready(self, companion: Companion) -> None:
        if companion.ready_port:
            name = companion.name
            await self._answers(companion.ready_port, companion.ready_path, name, self.logs / f"{name}.log")

    async def _gate(self) -> None:
        """Wait for what serves this pod from outside."""
        plan, logs = self._plan, self.logs.parent / self.state.spec.node
        if (path := plan.gate_file) is not None:
            self._set("Starting", "waiting for the node's agent")
            await _until(lambda: asyncio.to_thread(path.exists), "the node's agent", logs / "agent.log")
        if plan.gate_port:
            self._set("Starting", "waiting for the node's proxy")
            await self._answers(plan.gate_port, plan.gate_path, "the node's proxy", logs / "envoy.log")

    async def _answers(self, port: int, path: str, name: str, log: Path) -> None:
        """Wait for a 200 from inside the pod."""

        async def good() -> bool:
            with contextlib.suppress(OSError, TimeoutError):
                return await netns.http_status(self._walls.netns, "127.0.0.1", port, path) == 200
            return False

        await _until(good, name, log)

    @property
    def _walls(self) -> Sandbox:
        if self.state.walls is None:
            raise OSError(f"{self.state.spec.pod} has no sandbox yet")
        return self.state.walls

    def _start_companion(self, companion: Companion) -> Proc:
        log = self.logs / f"{companion.name}.log"
        return companions.start(companion, self.folder / companion.name, log, self._walls.enter)

    def _start_container(self, container: Container) -> Proc:
        env = self._variables(container)
        argv = images.command(container, env, self.folder)
        if container.working_dir:
            argv = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', container.working_dir, *argv]
        command = self._walls.enter("app", argv)
        return processes.spawn(command, log=self.logs / f"{container.name}.log", env=sandbox.environment(env))

    def _variables(self, container: Container) -> dict[str, str]:
        pod = self.state.spec.pod
        own = {variable.name: self._value(variable) for variable in container.env}
        return {"POD_NAME": pod.name, "POD_NAMESPACE": pod.namespace, **own}

    def environment(self, container: Container | None = None) -> dict[str, str]:
        """What a command in a container sees (the first, if none is named): nothing of the daemon's, which are its
        starter's, secrets and all."""
        return sandbox.environment(self._variables(container or self.state.spec.template.containers[0]))

    def _value(self, variable: EnvVar) -> str:
        spec = self.state.spec
        if not variable.field_path:
            return variable.value
        known = {
            "metadata.name": spec.pod.name,
            "metadata.namespace": spec.pod.namespace,
            "metadata.uid": spec.uid,
            "status.podIP": self.state.ip,
            "spec.nodeName": spec.node,
            "spec.serviceAccountName": spec.template.service_account,
        }
        label = variable.field_path.removeprefix("metadata.labels['").removesuffix("']")
        return known.get(variable.field_path) or spec.template.labels.get(label, "")

    async def _supervise(self, name: str, start: Callable[[], Proc], companion: bool) -> None:
        """Start again what ends: a companion at once, a container with back-off."""
        pause = _BACKOFF_FIRST_S
        while not self.terminating:
            began = time.monotonic()
            known = self.state.procs.get(name)
            if known is None or not known.alive():
                try:
                    known = start()
                except MeshlabError as error:
                    self._set("Failed", str(error))
                    return
                self.state.procs[name] = known
                self._save()
            code = await known.exited()
            if self.terminating:
                return
            policy = self.state.spec.template.restart_policy
            if not companion and (policy == "Never" or (policy == "OnFailure" and code == 0)):
                self._ready[name] = False
                self._set("Succeeded" if code == 0 else "Failed", f"{name} ended with {code}")
                return
            self.state.restarts += 1
            if time.monotonic() - began > _BACKOFF_RESET_S:
                pause = _BACKOFF_FIRST_S
            await self._after_exit(name, code, companion, pause)
            pause = min(pause * 2, _BACKOFF_MAX_S)

    async def _after_exit(self, name: str, code: int | None, companion: bool, pause: float) -> None:
        if companion:
            self._companions_ready = False
            self._set(self.phase, f"{name} ended with {code}")
            self._task(self._companions_again())
            await asyncio.sleep(0 if pause <= _BACKOFF_FIRST_S else 0.2)
            return
        self._ready[name] = False
        self._set(self.phase, f"{name} ended with {code}; again in {pause:g} s")
        await asyncio.sleep(pause)
        container = next(c for c in self.state.spec.template.containers if c.name == name)
        self._ready[name] = container.readiness is None
        self._set(self.phase, "" if self._ready[name] else self.message)

    async def _companions_again(self) -> None:
        with contextlib.suppress(TimeoutError, OSError):
            for companion in self._plan.companions:
                await self._wait_ready(companion)
            self._companions_ready = True
            self._set(self.phase)

    async def _probe(self, container: Container, probe: Probe, kind: str) -> None:
        await asyncio.sleep(probe.initial_delay_s)
        good = bad = 0

        async def execute(command: Sequence[str], timeout_s: float) -> int:
            code, _, _ = await processes.communicate(
                self._walls.enter("exec", command), timeout_s=timeout_s, env=self.environment(container)
            )
            return code

        while not self.terminating:
            passed = await probes.passes(probe, self._walls.netns, self.state.ip, self.ports, execute)
            good, bad = (good + 1, 0) if passed else (0, bad + 1)
            if kind == "readiness":
                before = self._ready.get(container.name, False)
                if good >= probe.success_threshold or bad >= probe.failure_threshold:
                    self._ready[container.name] = good > 0
                if before != self._ready.get(container.name):
                    self._set(self.phase, "" if good else "readiness probe fails")
            elif bad >= probe.failure_threshold:
                bad = 0
                self._set(self.phase, "liveness probe failed; restarting")
                self.state.procs[container.name].signal(9)
            waiting = kind == "readiness" and not self._ready.get(container.name) and bad < 100
            await asyncio.sleep(min(0.1, probe.period_s) if waiting else probe.period_s)

    def _set(self, phase: str, message: str = "") -> None:
        self.phase, self.message = phase, message
        self._on_change()

    def _save(self) -> None:
        write_whole(self.folder / "state", pickle.dumps(self.state))

    # its end

    async def stop(self) -> None:
        """Out of the endpoints at once, then drain, end, remove. Returns when nothing is left."""
        self.terminating = True
        self._on_change()
        template = self.state.spec.template
        if self.state.walls is not None:
            await asyncio.sleep(min(PROPAGATION_S, template.termination_grace_s))
            for companion in self._plan.companions:
                if companion.drain_path:
                    with contextlib.suppress(OSError, TimeoutError):
                        await netns.http_status(
                            self._walls.netns, "127.0.0.1", companion.drain_port, companion.drain_path, method="POST"
                        )
            names = [container.name for container in template.containers]
            running = [self.state.procs[name] for name in names if name in self.state.procs]
            await asyncio.gather(*(proc.stop(template.termination_grace_s) for proc in running))
        self.detach()
        await asyncio.to_thread(self.remove)

    def detach(self) -> None:
        """Stop watching; the pod runs on."""
        for task in self._tasks:
            task.cancel()

    def remove(self) -> None:
        import shutil

        sandbox.remove(self._group)
        self._network.remove_pod(self.state.number)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.logs, ignore_errors=True)  # the next pod of this name has a log of its own


async def _until(good: Callable[[], Awaitable[bool]], name: str, log: Path) -> None:
    """Wait for it. TimeoutError with the last words of who should have made it so."""
    deadline = time.monotonic() + _COMPANION_READY_S
    while not await good():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} was not ready after {_COMPANION_READY_S:g} s: {last_words(log)}")
        await asyncio.sleep(0.03)
