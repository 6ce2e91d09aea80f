"""All resources of one sidecar, or of the shared Envoy of one node."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from meshlab.compile.plan import is_read, seated, targets
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
def _shared(world: World) -> dict[str, Named]:
    """What every sidecar of a world gets alike: all that leaves a pod."""
    found = _outwards(world, OWN)
    made = [one for target in targets(world) if (one := listeners.for_target(world, target)) is not None]
    return {**found, LISTENER: {**found[LISTENER], **_named(made)}}


def _outwards(world: World, seat: Seat) -> dict[str, Named]:
    """Clusters, endpoints, listeners and routes of all that leaves a pod, and the proxy's own listeners.

    In a shared Envoy each pod has endpoints of its own name: of a name that it knows already, Envoy asks nothing more
    (delta ADS), and a second cluster would wait for them in vain."""
    found = targets(world)
    out, direct = listeners.outbound(world, seat)
    more = [t for t in found if seat.pod and is_read(t.protocol)]
    forms = [(t, v) for t in found for v in t.variants] + [(t, "tcp") for t in more if t.tunnel]
    services = [clusters.for_target(world, t, v, seat) for t, v in forms]
    beyond = clusters.original_dst(clusters.PASSTHROUGH, seat)
    made = [routes.configuration(world, t, v, seat) for t, v in forms if v != "tcp"]
    own = [listeners.health(seat), listeners.stats(seat)]
    own += [listeners.carried(world, more, seat)] if seat.pod else []
    ways = {(t.endpoints, t.tunnelled(v)): t for t, v in forms}
    places = [endpoints.assignment(world, t, seat, tunnel=tunnel) for (_, tunnel), t in ways.items()]
    return {
        CLUSTER: _named([*services, *direct, beyond]),
        ENDPOINTS: {one.cluster_name: resource(one.cluster_name, one) for one in places},
        LISTENER: _named([out, *own]),
        ROUTE: _named(made),
    }


def _inwards(world: World, endpoint: Endpoint, seat: Seat) -> dict[str, Named]:
    """Clusters, listener and routes of all that enters a pod."""
    made = [listeners.inbound_routes(world, endpoint, seat), listeners.tunnel_routes(world, endpoint, seat)]
    return {
        CLUSTER: _named([*clusters.inbound(seat), *clusters.for_tunnels(world, endpoint, seat)]),
        LISTENER: _named([listeners.inbound(world, endpoint, seat), listeners.tunnels(world, endpoint, seat)]),
        ROUTE: _named(made),
    }


def compile_pod(world: World, pod: PodId) -> Snapshot:
    """The snapshot of one pod's sidecar. KeyError if the world has no such pod."""
    endpoint = world.endpoint(pod)
    if endpoint is None:
        raise KeyError(f"no pod {pod}")
    return Snapshot(world.version, _joined(_shared(world), _inwards(world, endpoint, OWN)))


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
