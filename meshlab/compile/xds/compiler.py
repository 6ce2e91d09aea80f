"""World and pod to Snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshlab.compile.xds import clusters, direct, endpoints, health, inbound, outbound, routes
from meshlab.compile.xds.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshlab.errors import NotFound
from meshlab.model.snapshot import Resource, Snapshot
from meshlab.model.world import PodId, World


@dataclass
class _Memory:
    """The part that all pods share, of the last World; a cache by content, so nothing of it shows."""

    version: str = ""
    shared: dict[str, list[Resource]] = field(default_factory=dict)


_memory = _Memory()


def compile_pod(world: World, pod: PodId) -> Snapshot:
    """Everything but secrets for the sidecar of one pod. NotFound if the World has no such pod."""
    endpoint = world.endpoint(pod)
    if endpoint is None:
        raise NotFound(f"no pod {pod}")
    shared = _shared(world)
    return Snapshot(
        version=world.version,
        resources={
            CLUSTER: _by_name([*shared[CLUSTER], *inbound.inbound_clusters(world, endpoint)]),
            ENDPOINT: _by_name(shared[ENDPOINT]),
            LISTENER: _by_name([inbound.listener(world, endpoint), *shared[LISTENER]]),
            ROUTE: _by_name([*shared[ROUTE], *inbound.route_configs(world, endpoint)]),
        },
    )


def _shared(world: World) -> dict[str, list[Resource]]:
    if _memory.version != world.version:
        _memory.shared = {
            CLUSTER: [*clusters.fixed_clusters(), *clusters.service_clusters(world), *direct.pod_clusters(world)],
            ENDPOINT: endpoints.endpoints(world),
            LISTENER: [*outbound.listeners(world), *health.listeners()],
            ROUTE: [*routes.service_routes(world), *direct.pod_routes(world)],
        }
        _memory.version = world.version
    return _memory.shared


def _by_name(found: Iterable[Resource]) -> Mapping[str, Resource]:
    return {one.name: one for one in found}
