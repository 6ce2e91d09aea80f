"""What a node's kernel is to enforce, in names: services to balance, workloads to know, rules at layer 4.

One immutable value per node, cut into named resources (`workload/<ip>`, `service/<ip>:<port>`), so that only what
changed travels to the node's agent. Numbers, which the kernel's maps hold, are the agent's business.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KERNEL_TYPE = "type.googleapis.com/meshlab.kernel.v1.Resource"
"""Type of these resources on the ADS stream; the body is a google.protobuf.StringValue with JSON."""


@dataclass(frozen=True)
class KernelBackend:
    """A pod's address and container port; `weight` is relative."""

    ip: str
    port: int
    weight: int = 1


@dataclass(frozen=True)
class KernelService:
    """One TCP port of a Service at its ClusterIP. `proxy`: the node's Envoy balances (layer 7, or what the kernel
    cannot read); else the kernel chooses among `backends`: those that are ready."""

    name: str
    """`namespace/name`."""
    ip: str
    port: int
    proxy: bool
    backends: tuple[KernelBackend, ...] = ()
    carried: tuple[str, ...] = ()
    """Of those that the proxy balances: the SPIFFE IDs ("": any of this node's) whose HTTP/1.1 it only carries, and the
    kernel reads."""

    @property
    def resource(self) -> str:
        return f"service/{self.ip}:{self.port}"


@dataclass(frozen=True)
class KernelRule:
    """A verdict on connections to a port (0: any) from a SPIFFE ID ("": any). The most specific one decides: port and
    source, port, source, neither."""

    verdict: str
    """allow, deny, or proxy: the node's Envoy decides."""
    reason: str
    """A word of `outcomes.Reason`."""
    port: int = 0
    source: str = ""
    policy: str = ""
    """`namespace/name` of the policy that decided."""
    rule: int | None = None
    http: bool = False
    """What is let through speaks HTTP/1.1: the kernel reads its requests."""


@dataclass(frozen=True)
class KernelWorkload:
    """A pod of the mesh. Of the node's own sidecarless pods also the uid, the path of the network namespace, and the
    rules, which include one for any port and any source."""

    ip: str
    pod: str
    """`namespace/name`."""
    identity: str
    """SPIFFE ID."""
    plane: str
    """sidecar or sidecarless."""
    uid: str = ""
    netns: str = ""
    rules: tuple[KernelRule, ...] = ()

    @property
    def resource(self) -> str:
        return f"workload/{self.ip}"


@dataclass(frozen=True)
class KernelPlan:
    """All of one node."""

    node: str
    workloads: tuple[KernelWorkload, ...] = ()
    services: tuple[KernelService, ...] = ()

    def resources(self) -> dict[str, str]:
        """Name -> JSON, sorted keys: same value, same bytes."""
        parts: tuple[KernelWorkload | KernelService, ...] = (*self.workloads, *self.services)
        return {part.resource: json.dumps(asdict(part), sort_keys=True) for part in parts}


def plan_of(node: str, resources: Mapping[str, str]) -> KernelPlan:
    """The plan again, from its resources. ValueError, naming the resource, where one is not of this shape."""
    workloads, services = [], []
    for name, text in sorted(resources.items()):
        try:
            found: dict[str, Any] = json.loads(text)
            if name.startswith("service/"):
                backends = tuple(KernelBackend(**one) for one in found.pop("backends"))
                services.append(KernelService(**{**found, "carried": tuple(found["carried"])}, backends=backends))
            else:
                rules = tuple(KernelRule(**one) for one in found.pop("rules"))
                workloads.append(KernelWorkload(**found, rules=rules))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"resource {name}: {type(error).__name__}: {error}") from None
    return KernelPlan(node, tuple(workloads), tuple(services))
