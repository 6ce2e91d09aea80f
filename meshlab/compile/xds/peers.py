"""PeerAuthentication: which mTLS mode holds for a pod and port (Istio's precedence)."""

from __future__ import annotations

from meshlab.model.ids import ROOT_NAMESPACE
from meshlab.model.policies import MtlsMode, PeerAuthentication
from meshlab.model.world import Endpoint, World


def port_mtls(world: World, endpoint: Endpoint, port: int) -> MtlsMode:
    """Port of the workload's policy, the workload's, the namespace's, the mesh's; PERMISSIVE where none says."""
    workload, wider = _policies(world, endpoint)
    for policy in workload:
        mode = policy.port_modes.get(port, MtlsMode.UNSET)
        if mode != MtlsMode.UNSET:
            return mode
    for policy in (*workload, *wider):
        if policy.mode != MtlsMode.UNSET:
            return policy.mode
    return MtlsMode.PERMISSIVE


def listed_ports(world: World, endpoint: Endpoint) -> list[int]:
    """Ports that a policy of this workload names, in order."""
    return sorted({port for policy in _policies(world, endpoint)[0] for port in policy.port_modes})


def _policies(world: World, endpoint: Endpoint) -> tuple[list[PeerAuthentication], list[PeerAuthentication]]:
    """Those that select the pod, then the namespace's and the mesh's. The first by name holds where two compete."""
    workload, namespace, mesh = [], [], []
    for policy in world.mesh.all(PeerAuthentication):
        here = policy.namespace == endpoint.pod.namespace
        if policy.selector:
            if here and policy.selector.items() <= endpoint.labels.items():
                workload.append(policy)
        elif here:
            namespace.append(policy)
        elif policy.namespace == ROOT_NAMESPACE:
            mesh.append(policy)
    return workload, namespace[:1] + mesh[:1]
