"""The embedded stand-in for a Kubernetes cluster: store, controllers, kubelet, DNS and service NAT, joined."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Iterable, Sequence

from meshlab.model.ids import Ref
from meshlab.model.settings import Settings
from meshlab.model.workloads import Deployment
from meshlab.model.world import Endpoint, PodId, World
from meshlab.runtimes.base import Change, Manifest, Observed
from meshlab.runtimes.local import admission, deployments, dns, service_nat
from meshlab.runtimes.local.kubelet import Kubelet
from meshlab.runtimes.local.network import Network
from meshlab.runtimes.local.store import Store

_AGAIN_S = 1.0
"""After a reconciliation that failed."""


class Cluster:
    """Join of the store and the kubelet: whatever changes, `reconcile` runs once soon after."""

    def __init__(
        self, settings: Settings, store: Store, network: Network, kubelet: Callable[[Callable[[], None]], Kubelet]
    ) -> None:
        self._settings, self.store, self._network = settings, store, network
        self._dirty = asyncio.Event()
        self._news = asyncio.Condition()
        self.kubelet = kubelet(self._dirty.set)
        self._world = World(store.mesh)
        self._shown: tuple[object, ...] = ()
        self._pending: tuple[str, ...] = ()
        self._since: dict[tuple[PodId, str], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Nodes, DNS, and the pods that run already."""
        await asyncio.to_thread(self._network.up)
        self.kubelet.start()
        for node in self._network.nodes:
            path = f"/run/netns/{self._network.node_netns(node)}"
            await dns.serve(path, self._network.gateway(node), lambda: self._world)
        self._dirty.set()

    async def run(self) -> None:
        """Reconcile whenever something changed, for ever. An error is logged and tried again: the pods of a lab must
        not depend on one of them."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                self.reconcile()
            except Exception:
                traceback.print_exc()
                asyncio.get_running_loop().call_later(_AGAIN_S, self._dirty.set)
            async with self._news:
                self._news.notify_all()
            await asyncio.sleep(0.01)

    def reconcile(self) -> None:
        """One look at what is wanted and what runs, and the next steps."""
        steps = self._steps()
        for pod in steps.stop:
            self.kubelet.stop(pod)
        for spec in steps.start:
            self.kubelet.run(spec)
        self._pending = tuple(steps.pending)
        endpoints = tuple(self.kubelet.endpoints())
        self._world = World(self.store.mesh, endpoints, self.store.cluster_ips, self._settings.trust_domain)
        if self._shown != (endpoints, self._pending):
            self._shown = (endpoints, self._pending)
            self.store.touch()
        self.kubelet.set_service_nat(service_nat.rules(self._world))

    def _steps(self) -> deployments.Steps:
        specs = self.kubelet.specs()
        leaving = {spec.pod for spec in specs if self.kubelet.leaving(spec.pod)}
        ready_s = self._ready_seconds(self.kubelet.endpoints())
        self._look_again(ready_s)
        nodes = list(self._network.nodes)
        return deployments.plan(self.store.mesh, specs, leaving, ready_s, nodes, self._settings.mode)

    def _ready_seconds(self, endpoints: Iterable[Endpoint]) -> dict[PodId, float]:
        now = time.monotonic()
        ready = [(endpoint.pod, endpoint.uid) for endpoint in endpoints if endpoint.ready]
        self._since = {key: self._since.get(key, now) for key in ready}
        return {pod: now - since for (pod, _), since in self._since.items()}

    def _look_again(self, ready_s: dict[PodId, float]) -> None:
        """Nothing changes by itself when `minReadySeconds` have passed: set a timer."""
        longest = max((deployment.min_ready_s for deployment in self.store.mesh.all(Deployment)), default=0.0)
        young = [longest - seconds for seconds in ready_s.values() if seconds < longest]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if young:
            self._timer = asyncio.get_running_loop().call_later(min(max(min(young), 0.05), 1.0), self._dirty.set)

    def apply(self, manifests: Sequence[Manifest]) -> list[Change]:
        """All or nothing. MeshlabError for what this lab can never run."""
        admission.admit(manifests, list(self._network.nodes))
        return self._changed(self.store.apply(manifests))

    def delete(self, refs: Sequence[Ref]) -> list[Change]:
        return self._changed(self.store.delete(refs))

    def _changed(self, changes: list[Change]) -> list[Change]:
        """`pending` must tell of a change by the time its author has the answer, not a moment later."""
        if any(change.verb != "unchanged" for change in changes):
            self._pending = ("the change is not looked at yet",)
            self._dirty.set()
        return changes

    def observed(self) -> Observed:
        return Observed(
            self.store.revision,
            tuple(self.store.manifests.values()),
            tuple(self.kubelet.endpoints()),
            dict(self.store.cluster_ips),
            self._pending,
        )

    async def newer(self, revision: int) -> Observed:
        """Wait for a revision other than this one (a client may bring one of a lab that is gone)."""
        async with self._news:
            await self._news.wait_for(lambda: self.store.revision != revision)
        return self.observed()
