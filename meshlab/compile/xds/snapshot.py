"""All resources of one sidecar, or of the shared Envoy of one node."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from meshlab.compile.plan import container_protocols, seated, targets
from meshlab.compile.xds import clusters, endpoints, listeners, routes
from meshlab.compile.xds.pack import resource
from meshlab.compile.xds.plan import OWN, Seat
from meshlab.model.snapshot import Resource, Snapshot
from meshlab.model.world import Endpoint, PodId, World

_PREFIX = "type.googleapis.com/envoy.config."
CLUSTER = f"{_PREFIX}cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}listener.v3.Listener"
ROUTE = f"{_PREFIX}route.v3.RouteConfiguration"
Named = dict[str, Resource]


def _named(messages: Sequence[Any]) -> Named:
    return {message.name: resource(message.name, message) for message in messages}


@lru_cache(maxsize=2)
def _shared(version: str, holder: _Held) -> dict[str, Named]:
    """What every sidecar of a world gets alike: all that leaves a pod."""
    del version
    world = holder.world
    found = _outwards(world, OWN)
    made = [one for target in targets(world) if (one := listeners.for_target(world, target)) is not None]
    return {**found, LISTENER: {**found[LISTENER], **_named(made)}}


def _outwards(world: World, seat: Seat) -> dict[str, Named]:
    """Clusters, endpoints, listeners and routes of all that leaves a pod, and the proxy's own listeners.

    In a shared Envoy each pod has endpoints of its own name: of a name that it knows already, Envoy asks nothing more
    (delta ADS), and a second cluster would wait for them in vain."""
    found = targets(world)
    out, direct = listeners.outbound(world, seat)
    services = [clusters.for_target(world, t, v, seat) for t in found for v in t.variants]
    beyond = clusters.original_dst(clusters.PASSTHROUGH, seat)
    made = [routes.configuration(world, t, v, seat) for t in found for v in t.variants if v != "tcp"]
    own = [listeners.health(seat), listeners.stats(seat)]
    forms = [(t, tunnel) for t in found for tunnel in sorted({t.tunnelled(variant) for variant in t.variants})]
    places = [endpoints.assignment(world, t, seat, tunnel=tunnel) for t, tunnel in forms]
    return {
        CLUSTER: _named([*services, *direct, beyond]),
        ENDPOINTS: {one.cluster_name: resource(one.cluster_name, one) for one in places},
        LISTENER: _named([out, *own]),
        ROUTE: _named(made),
    }


def _inwards(world: World, endpoint: Endpoint, seat: Seat) -> dict[str, Named]:
    """Clusters, listener and routes of all that enters a pod."""
    ports = (0, *container_protocols(world, endpoint))
    places = [clusters.original_dst(f"inbound|{port}||", seat) for port in ports]
    made = [*listeners.inbound_routes(world, endpoint, seat), listeners.tunnel_routes(world, endpoint, seat)]
    return {
        CLUSTER: _named([*places, *clusters.for_tunnels(world, endpoint, seat)]),
        LISTENER: _named([listeners.inbound(world, endpoint, seat), listeners.tunnels(world, seat)]),
        ROUTE: _named(made),
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
    return Snapshot(world.version, _joined(_shared(world.version, _Held(world)), _inwards(world, endpoint, OWN)))


def compile_node(world: World, node: str) -> Snapshot:
    """The snapshot of one node's shared Envoy: for each of the node's sidecarless pods that has a network namespace
    all that its sidecar would have, on sockets inside the pod, with the pod's own identity."""
    parts: list[dict[str, Named]] = [{CLUSTER: {}, ENDPOINTS: {}, LISTENER: {}, ROUTE: {}}]
    for endpoint in seated(world, node):
        seat = Seat(str(endpoint.pod), endpoint.netns)
        parts += [_outwards(world, seat), _inwards(world, endpoint, seat)]
    return Snapshot(world.version, _joined(*parts))


def _joined(*parts: dict[str, Named]) -> dict[str, Named]:
    found: dict[str, Named] = {}
    for part in parts:
        for type_url, named in part.items():
            found[type_url] = {**found.get(type_url, {}), **named}
    return found
