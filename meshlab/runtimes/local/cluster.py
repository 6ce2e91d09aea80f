"""The embedded stand-in for a Kubernetes cluster: documents, controllers, kubelet, DNS, service NAT."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from meshlab.model.ids import Ref
from meshlab.model.settings import Settings
from meshlab.model.workloads import Deployment
from meshlab.model.world import Endpoint, PodId, World
from meshlab.runtimes.base import Change, Manifest, Observed
from meshlab.runtimes.local import admission, deployments, dns, service_nat
from meshlab.runtimes.local.kubelet import Kubelet
from meshlab.runtimes.local.network import Network
from meshlab.runtimes.local.store import Store


class Cluster:
    """Join of the store and the kubelet: whatever changes, `reconcile` runs once soon after."""

    def __init__(
        self, settings: Settings, store: Store, network: Network, kubelet: Callable[[Callable[[], None]], Kubelet]
    ) -> None:
        self._settings, self.store, self._network = settings, store, network
        self._dirty = asyncio.Event()
        self._news: asyncio.Condition = asyncio.Condition()
        self.kubelet = kubelet(self._dirty.set)
        self._world = World(store.mesh)
        self._ready_since: dict[PodId, float] = {}

    async def start(self) -> None:
        """Nodes, DNS, pods that run already; then reconcile for ever (a task of the loop)."""
        await asyncio.to_thread(self._network.up)
        self.kubelet.start()
        for node in self._network.nodes:
            path = f"/run/netns/{self._network.node_netns(node)}"
            await dns.serve(path, self._network.gateway(node), lambda: self._world)
        self._dirty.set()

    async def run(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            self._reconcile()
            self.store.touch()
            async with self._news:
                self._news.notify_all()
            await asyncio.sleep(0.01)

    def _reconcile(self) -> None:
        specs = self.kubelet.specs()
        endpoints = self.kubelet.endpoints()
        self._world = World(self.store.mesh, tuple(endpoints), self.store.cluster_ips, self._settings.trust_domain)
        ready_s = self._ready_s(endpoints)
        leaving = {spec.pod for spec in specs if self.kubelet.leaving(spec.pod)}
        nodes = list(self._network.nodes)
        steps = deployments.plan(self.store.mesh, specs, leaving, ready_s, nodes, self._settings.mode)
        for pod in steps.stop:
            self.kubelet.stop(pod)
        for spec in steps.start:
            self.kubelet.run(spec)
        self.kubelet.set_service_nat(service_nat.rules(self._world))

    def _ready_s(self, endpoints: Sequence[Endpoint]) -> dict[PodId, float]:
        """How long each ready pod has been ready; looks again when one becomes available (`minReadySeconds`)."""
        now = time.monotonic()
        ready = [endpoint.pod for endpoint in endpoints if endpoint.ready]
        self._ready_since = {pod: self._ready_since.get(pod, now) for pod in ready}
        ready_s = {pod: now - since for pod, since in self._ready_since.items()}
        waits = [
            deployment.min_ready_s - ready_s[endpoint.pod]
            for endpoint in endpoints
            if endpoint.ready
            and (deployment := self.store.mesh.get(Deployment, endpoint.pod.namespace, endpoint.workload))
            and deployment.min_ready_s > ready_s[endpoint.pod]
        ]
        if waits:
            asyncio.get_running_loop().call_later(min(waits), self._dirty.set)
        return ready_s

    def apply(self, manifests: Sequence[Manifest]) -> list[Change]:
        admission.admit(manifests, list(self._network.nodes))
        changes = self.store.apply(manifests)
        self._dirty.set()
        return changes

    def delete(self, refs: Sequence[Ref]) -> list[Change]:
        changes = self.store.delete(refs)
        self._dirty.set()
        return changes

    def observed(self) -> Observed:
        return Observed(
            self.store.revision,
            tuple(self.store.manifests.values()),
            tuple(self.kubelet.endpoints()),
            dict(self.store.cluster_ips),
        )

    async def newer(self, revision: int) -> Observed:
        """Wait for a revision after this one."""
        async with self._news:
            await self._news.wait_for(lambda: self.store.revision > revision)
        return self.observed()
