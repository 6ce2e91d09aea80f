"""The embedded cluster over pods that are only words: what it starts, stops and shows, and when it looks again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from meshlab.errors import MeshlabError
from meshlab.model.settings import Settings
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId
from meshlab.runtimes.base import Observed
from meshlab.runtimes.local.cluster import Cluster
from meshlab.runtimes.local.pod import PodSpec
from meshlab.runtimes.local.store import Store
from tests.runtimes.support import SHOP, changed, manifests

WEB_1 = PodId("shop", "web-1")


class FakeNetwork:
    """Nodes without links."""

    nodes = {"node-1": 1, "node-2": 2}  # noqa: RUF012 (as the real one has it)


class FakeKubelet:
    """Pods are ready when `ready()` says so and are gone as soon as they are stopped."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self.pods: dict[PodId, tuple[PodSpec, Endpoint]] = {}
        self.nat: list[str] = []

    def run(self, spec: PodSpec) -> None:
        ip, labels = f"10.129.0.{len(self.pods) + 2}", dict(spec.template.labels)
        endpoint = Endpoint(
            spec.pod, spec.uid, ip, spec.node, spec.workload, "default", labels, spec.mode, {"http": 8080}
        )
        self.pods[spec.pod] = (spec, endpoint)

    def ready(self, *pods: PodId) -> None:
        for pod in pods or tuple(self.pods):
            spec, endpoint = self.pods[pod]
            self.pods[pod] = (spec, replace(endpoint, ready=True))
        self._on_change()

    def stop(self, pod: PodId) -> None:
        del self.pods[pod]
        self._on_change()

    def leaving(self, _: PodId) -> bool:
        return False

    def specs(self) -> list[PodSpec]:
        return [spec for spec, _ in self.pods.values()]

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for _, endpoint in self.pods.values()]

    def set_service_nat(self, rules: str) -> None:
        self.nat.append(rules)


Pair = tuple[Cluster, FakeKubelet]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """A cluster that reconciles, and its kubelet."""
    store = Store(tmp_path / "store.json")
    cluster = Cluster(
        Settings(mode=Mode.NONE), store, cast("Any", FakeNetwork()), lambda change: cast("Any", FakeKubelet(change))
    )
    working = asyncio.create_task(cluster.run())
    yield cluster, cast("FakeKubelet", cluster.kubelet)
    assert not working.done(), "it reconciles for ever"
    working.cancel()


async def seen(cluster: Cluster, wanted: Callable[[Observed], bool]) -> Observed:
    """The first state that is as wanted."""
    state = cluster.observed()
    async with asyncio.timeout(10):
        while not wanted(state):
            state = await cluster.newer(state.revision)
    return state


async def test_pods_follow_the_documents(pair: Pair) -> None:
    cluster, kubelet = pair
    cluster.apply(manifests())
    state = await seen(cluster, lambda state: len(state.endpoints) == 2)
    assert {endpoint.node for endpoint in state.endpoints} == {"node-1", "node-2"}
    assert state.cluster_ips.keys() == {("shop", "web")}
    cluster.delete([ref for ref in cluster.store.manifests if ref.kind == "Deployment"])
    await seen(cluster, lambda state: not state.endpoints)
    assert kubelet.pods == {}


async def test_rules_for_cluster_ips_follow_readiness(pair: Pair) -> None:
    cluster, kubelet = pair
    cluster.apply(manifests())
    state = await seen(cluster, lambda state: len(state.endpoints) == 2)
    assert "reject" in kubelet.nat[-1]
    kubelet.ready(WEB_1)
    await seen(cluster, lambda newer: newer.revision > state.revision and newer.endpoints[0].ready)
    assert "dnat to" in kubelet.nat[-1]
    assert "mod 1 " in kubelet.nat[-1]


async def test_min_ready_seconds_hold_a_rollout_back_and_then_let_it_go_on(pair: Pair) -> None:
    cluster, kubelet = pair
    slow = changed(SHOP, ("replicas: 2", "replicas: 1\n  minReadySeconds: 0.3"))
    cluster.apply(slow)
    await seen(cluster, lambda state: len(state.endpoints) == 1)
    kubelet.ready()
    cluster.apply(
        changed(SHOP, ("replicas: 2", "replicas: 1\n  minReadySeconds: 0.3"), ("meshlab/echo", "meshlab/nginx"))
    )
    await seen(cluster, lambda state: len(state.endpoints) == 2)
    kubelet.ready()
    began = asyncio.get_running_loop().time()
    state = await seen(cluster, lambda state: len(state.endpoints) == 1)
    assert asyncio.get_running_loop().time() - began >= 0.29  # nothing but the clock could have woken it
    assert state.endpoints[0].pod == PodId("shop", "web-2")


async def test_what_is_refused_changes_nothing_and_work_goes_on(pair: Pair) -> None:
    cluster, _ = pair
    cluster.apply(manifests())
    before = (await seen(cluster, lambda state: len(state.endpoints) == 2)).manifests
    with pytest.raises(MeshlabError):
        cluster.apply([{"kind": "Nothing"}])
    assert cluster.observed().manifests == before
    cluster.apply(changed(SHOP, ("replicas: 2", "replicas: 3")))
    await seen(cluster, lambda state: len(state.endpoints) == 3)
