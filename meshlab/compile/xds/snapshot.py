"""All resources of one sidecar."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from meshlab.compile.xds import clusters, endpoints, listeners, routes
from meshlab.compile.xds.pack import resource
from meshlab.compile.xds.plan import container_protocols, targets
from meshlab.model.snapshot import Resource, Snapshot
from meshlab.model.world import PodId, World

_PREFIX = "type.googleapis.com/envoy.config."
CLUSTER = f"{_PREFIX}cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}listener.v3.Listener"
ROUTE = f"{_PREFIX}route.v3.RouteConfiguration"
Named = dict[str, Resource]


def _named(pairs: list[tuple[str, Any]]) -> Named:
    return {name: resource(name, message) for name, message in pairs}


@lru_cache(maxsize=2)
def _shared(version: str, holder: _Held) -> dict[str, Named]:
    """What every sidecar of a world gets alike: all that leaves a pod."""
    del version
    world, found = holder.world, targets(holder.world)
    out, direct = listeners.outbound(world)
    made_clusters = [(t.cluster(v), clusters.for_target(world, t, v)) for t in found for v in t.variants]
    made_clusters += [(one.name, one) for one in direct]
    made_clusters.append((clusters.PASSTHROUGH, clusters.original_dst(clusters.PASSTHROUGH)))
    made_listeners = [(one.name, one) for t in found if (one := listeners.for_target(world, t)) is not None]
    made_listeners += [(one.name, one) for one in (out, listeners.health(), listeners.stats())]
    made_routes = [
        (routes.name_of(t, v), routes.configuration(world, t, v)) for t in found for v in t.variants if v != "tcp"
    ]
    return {
        CLUSTER: _named(made_clusters),
        ENDPOINTS: _named([(t.endpoints, endpoints.assignment(world, t)) for t in found]),
        LISTENER: _named(made_listeners),
        ROUTE: _named(made_routes),
    }


class _Held:
    """A World as a cache key: told apart by its version."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.world.version == self.world.version

    def __hash__(self) -> int:
        return hash(self.world.version)


def compile_pod(world: World, pod: PodId) -> Snapshot:
    """The snapshot of one pod's sidecar. KeyError if the world has no such pod."""
    endpoint = world.endpoint(pod)
    if endpoint is None:
        raise KeyError(f"no pod {pod}")
    shared = _shared(world.version, _Held(world))
    own = [f"inbound|{port}||" for port in (0, *container_protocols(world, endpoint))]
    inbound = listeners.inbound(world, endpoint)
    return Snapshot(
        world.version,
        {
            **shared,
            CLUSTER: {**shared[CLUSTER], **_named([(name, clusters.original_dst(name)) for name in own])},
            ROUTE: {**shared[ROUTE], **_named([(one.name, one) for one in listeners.inbound_routes(world, endpoint)])},
            LISTENER: {**shared[LISTENER], "inbound": resource("inbound", inbound)},
        },
    )
