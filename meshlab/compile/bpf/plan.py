"""All of one node."""

from __future__ import annotations

from meshlab.compile.bpf import rules, services
from meshlab.compile.plan import seated
from meshlab.model.kernel import KernelPlan, KernelWorkload
from meshlab.model.workloads import Mode
from meshlab.model.world import World


def compile_kernel(world: World, node: str) -> KernelPlan:
    """The plan of one node's kernel. Pods that are not in the mesh are not in it: the proxy knows what to do."""
    seats = seated(world, node)
    identities = sorted({str(world.identity(pod)) for pod in seats})
    own = {pod.pod: rules.judged(world, pod, identities) for pod in seats}
    workloads = []
    for pod in world.endpoints:
        if pod.mode is not Mode.NONE and pod.ip:
            made = KernelWorkload(pod.ip, str(pod.pod), str(world.identity(pod)), str(pod.mode))
            if pod.pod in own:
                verdicts = rules.of_pod(own[pod.pod])
                made = KernelWorkload(made.ip, made.pod, made.identity, made.plane, pod.uid, pod.netns, verdicts)
            workloads.append(made)
    unsure = {pod: rules.unsure(found) for pod, found in own.items()}
    return KernelPlan(node, tuple(workloads), services.every(world, unsure, identities))
