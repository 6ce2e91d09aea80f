"""stub"""

from meshlab.compile.bpf.snapshot import snapshot
from meshlab.compile.xds.plan import targets
from meshlab.model.kernel import KernelPlan, KernelRule, KernelService, KernelWorkload
from meshlab.model.workloads import Mode
from meshlab.model.world import World


def compile_kernel(world: World, node: str) -> KernelPlan:
    found = []
    for e in world.endpoints:
        if e.mode is Mode.NONE or not e.ip:
            continue
        own = e.node == node and e.mode is Mode.SIDECARLESS and e.netns
        found.append(
            KernelWorkload(
                e.ip,
                str(e.pod),
                str(world.identity(e)),
                str(e.mode),
                e.uid if own else "",
                e.netns if own else "",
                (KernelRule("proxy", "ok"),) if own else (),
            )
        )
    services = [
        KernelService(f"{t.service.namespace}/{t.service.name}", ip, t.port.port, True)
        for t in targets(world)
        if (ip := world.cluster_ips.get((t.service.namespace, t.service.name)))
    ]
    return KernelPlan(node, tuple(found), tuple(services))


def check(plan: KernelPlan) -> tuple[str, ...]:
    return ()


__all__ = ["check", "compile_kernel", "snapshot"]
