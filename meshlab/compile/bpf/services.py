"""ClusterIPs that the kernel balances, and those that it leaves to the node's Envoy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from meshlab.compile import carried
from meshlab.compile.bpf.rules import READABLE
from meshlab.compile.plan import Target, is_attached, targets
from meshlab.model.kernel import KernelBackend, KernelService
from meshlab.model.routes import HTTPRoute
from meshlab.model.services import Protocol
from meshlab.model.world import Endpoint, PodId, World, target_port

Unsure = Mapping[PodId, frozenset[int]]
"""The pods of the node's kernel plane, each with the ports at which layer 4 cannot tell."""


def every(world: World, own: Unsure, identities: Sequence[str]) -> tuple[KernelService, ...]:
    """One for each TCP port of each Service with a ClusterIP. `identities`: of the node's pods, sorted."""
    routes, callers, found = world.mesh.all(HTTPRoute), carried.callers(world), []
    for target in targets(world):
        ip = world.cluster_ips.get((target.service.namespace, target.service.name))
        if ip is not None:
            made = _service(world, target, ip, routes, own)
            allowed = callers.get(target.endpoints, ()) if made.proxy else ()
            among = tuple(one for one in identities if one in allowed)
            found.append(replace(made, carried=("",) if among and len(among) == len(identities) else among))
    return tuple(found)


def _service(world: World, target: Target, ip: str, routes: Sequence[HTTPRoute], own: Unsure) -> KernelService:
    name = f"{target.service.namespace}/{target.service.name}"
    ready = [
        (pod, port)
        for pod in world.selected(target.service)
        if pod.ready and (port := target_port(target.port, pod)) is not None
    ]
    if _for_the_proxy(target, ready, routes, own):
        return KernelService(name, ip, target.port.port, True)
    backends = tuple(KernelBackend(pod.ip, port) for pod, port in ready)
    return KernelService(name, ip, target.port.port, False, backends)


def _for_the_proxy(
    target: Target, ready: Sequence[tuple[Endpoint, int]], routes: Sequence[HTTPRoute], own: Unsure
) -> bool:
    """Layer 7, a backend elsewhere or of another plane, a policy that layer 4 cannot judge; and in HTTP no backend at
    all is an answer (503), not a refusal."""
    return (
        target.protocol not in READABLE
        or any(is_attached(route, target) for route in routes)
        or (not ready and target.protocol is Protocol.HTTP)
        or any(pod.pod not in own or port in own[pod.pod] for pod, port in ready)
    )
