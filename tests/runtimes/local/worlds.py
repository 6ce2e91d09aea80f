"""A small world for the tests of names and addresses."""

from __future__ import annotations

from dataclasses import replace

from meshlab.model import documents
from meshlab.model.mesh import Mesh
from meshlab.model.services import Service
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId, World
from tests.runtimes.support import SHOP, manifests

MESH = Mesh.of(documents.noun(manifest) for manifest in manifests(SHOP))
PODS = tuple(
    Endpoint(
        PodId("shop", f"web-{n}"), f"uid-{n}", f"10.129.0.{n + 1}", "node-1", "web", "default", {"app": "web"},
        Mode.NONE, {"http": 8080}, n != 3,
    )
    for n in (1, 2, 3)
)  # fmt: skip
"""The third is not ready."""
WORLD = World(MESH, PODS, {("shop", "web"): "10.96.0.10"})


def many(count: int) -> World:
    """The same with more ready pods than fit into a short answer."""
    pods = (replace(PODS[0], pod=PodId("shop", f"web-{n}"), ip=f"10.129.1.{n}") for n in range(1, count + 1))
    return replace(WORLD, endpoints=tuple(pods))


def with_services(*services: Service, cluster_ips: dict[tuple[str, str], str]) -> World:
    return World(Mesh.of([*MESH.nouns.values(), *services]), PODS, {**WORLD.cluster_ips, **cluster_ips})
