"""The HTTP that nodes' proxies only carry: its bytes go through at layer 4, and the kernels at both ends read them.

A call goes by layer 7 where anything asks for it: a route, a policy that layer 4 cannot judge or that refuses (which is
an answer, 403), a backend that is not sidecarless or takes no mesh TLS, or no backend at all (503). All else needs no
proxy that reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from meshlab.compile.judgement import Connection, judge
from meshlab.compile.plan import Target, container_protocols, is_attached, is_read, policies_for, takes_mtls, targets
from meshlab.model.routes import HTTPRoute
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, World, target_port


@lru_cache(maxsize=2)
def callers(world: World) -> Mapping[str, frozenset[str]]:
    """The SPIFFE IDs of the sidecarless pods whose calls of a target's ClusterIP are carried, by the name of its
    endpoints; a target that nobody is carried to is left out."""
    routes = world.mesh.all(HTTPRoute)
    everyone = {str(world.identity(pod)) for pod in world.endpoints if pod.mode is Mode.SIDECARLESS}
    backends, found = set(_backends(routes)), {}
    for target in targets(world):
        pods, service = world.selected(target.service), target.service
        routed = (service.namespace, service.name, target.port.port) in backends or any(
            is_attached(route, target) for route in routes
        )
        if not routed and _is_plain(world, target, pods):
            found[target.endpoints] = _allowed(world, target, pods, everyone)
    return {name: identities for name, identities in found.items() if identities}


def _is_plain(world: World, target: Target, pods: tuple[Endpoint, ...]) -> bool:
    """HTTP/1.1 at the ClusterIP and at every pod, each of which can take it by mesh TLS; and one is there."""
    return (
        is_read(target.protocol)
        and (target.service.namespace, target.service.name) in world.cluster_ips
        and any(pod.ready for pod in pods)
        and all(
            pod.mode is Mode.SIDECARLESS
            and (port := target_port(target.port, pod)) is not None
            and is_read(container_protocols(world, pod)[port])
            and takes_mtls(world, pod, port)
            for pod in pods
        )
    )


def _backends(routes: Iterable[HTTPRoute]) -> Iterator[tuple[str, str, int]]:
    """What routes call in HTTP."""
    for rule in (rule for route in routes for rule in route.rules):
        yield from ((one.namespace, one.name, one.port) for one in rule.backends)
        yield from ((one.namespace, one.name, one.port) for one in rule.filters.mirrors)


def _allowed(world: World, target: Target, pods: tuple[Endpoint, ...], everyone: set[str]) -> frozenset[str]:
    """Those whom every pod lets in for sure, whatever they ask for: by its rules for requests, and by those for raw
    connections, which are what the proxy at the other end will ask."""
    left = everyone
    for pod in pods:
        policies, port = policies_for(world, pod), target_port(target.port, pod) or 0
        for http in (True, False):
            known = {one: Connection(one, pod.ip, port, http, world.trust_domain) for one in left}
            left = {one for one, connection in known.items() if judge(policies, connection).allowed is True}
    return frozenset(left)
