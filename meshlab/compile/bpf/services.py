"""ClusterIPs that the kernel balances, and those that it leaves to the node's Envoy."""

from __future__ import annotations

from collections.abc import Sequence

from meshlab.compile.bpf.rules import READABLE, judged
from meshlab.compile.xds.plan import Target, targets
from meshlab.compile.xds.routes import is_attached
from meshlab.model.kernel import KernelBackend, KernelService
from meshlab.model.routes import HTTPRoute
from meshlab.model.services import Protocol
from meshlab.model.world import Endpoint, World, target_port


def every(world: World, seats: Sequence[Endpoint], identities: Sequence[str]) -> tuple[KernelService, ...]:
    """One for each TCP port of each Service with a ClusterIP. `seats`: the pods of the node's kernel plane."""
    found = []
    for target in targets(world):
        ip = world.cluster_ips.get((target.service.namespace, target.service.name))
        if ip is not None:
            found.append(_service(world, target, ip, seats, identities))
    return tuple(found)


def _service(
    world: World, target: Target, ip: str, seats: Sequence[Endpoint], identities: Sequence[str]
) -> KernelService:
    name = f"{target.service.namespace}/{target.service.name}"
    ready = [
        (pod, port)
        for pod in world.selected(target.service)
        if pod.ready and (port := target_port(target.port, pod)) is not None
    ]
    if _for_the_proxy(world, target, ready, seats, identities):
        return KernelService(name, ip, target.port.port, True)
    backends = tuple(KernelBackend(pod.ip, port) for pod, port in ready)
    return KernelService(name, ip, target.port.port, False, backends)


def _for_the_proxy(
    world: World,
    target: Target,
    ready: Sequence[tuple[Endpoint, int]],
    seats: Sequence[Endpoint],
    identities: Sequence[str],
) -> bool:
    """Layer 7, a backend elsewhere or of another plane, a policy that layer 4 cannot judge; and in HTTP no backend at
    all is an answer (503), not a refusal."""
    return (
        target.protocol not in READABLE
        or any(is_attached(route, target) for route in world.mesh.all(HTTPRoute))
        or (not ready and target.protocol is Protocol.HTTP)
        or any(pod not in seats for pod, _ in ready)
        or any(
            judgement.allowed is None
            for pod, port in ready
            for _, _, judgement in judged(world, pod, identities, only=port)
        )
    )
