"""What a node's kernel is to enforce, as one immutable value: numbers, not names (who names them keeps the list)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from meshlab.model.kernel import KernelBackend
from meshlab.model.outcomes import Reason

ANY_PORT = 0
ANY_SOURCE = 0


class RuleVerdict(IntEnum):
    """As VERDICT_* of bpf/include/rules.h."""

    DENY = 0
    ALLOW = 1
    PROXY = 2


class PlaneOf(IntEnum):
    """Which plane serves an address; as ADDRESS_* of bpf/include/addresses.h."""

    NONE = 0
    SIDECARLESS = 2
    SIDECAR = 4
    BYPASS = 8
    """Never diverted: the node's DNS, for example."""


@dataclass(frozen=True)
class Service:
    """One port of a Service. `proxy`: a layer-7 policy applies, so the node's Envoy balances; `least`: the less loaded
    of two random backends (counted on this node)."""

    index: int
    ip: str
    port: int
    backends: tuple[KernelBackend, ...] = ()
    proxy: bool = False
    least: bool = False


@dataclass(frozen=True)
class Rule:
    """A verdict on connections to a pod of this node; the most specific rule wins (see bpf/include/rules.h). Or, with a
    service in the pod's place: the proxy carries a source's connections to it, and the kernel reads them as `http`.
    Every meshed pod needs one with ANY_PORT and ANY_SOURCE: without it nothing reaches the pod."""

    destination: int
    verdict: RuleVerdict
    reason: Reason
    port: int = ANY_PORT
    source: int = ANY_SOURCE
    policy: int = 0
    http: bool = False
    """The port is known to speak HTTP/1.1: the kernel reads requests and responses on its connections."""


@dataclass(frozen=True)
class Address:
    """An address of the mesh. Of this node's pods it says nothing new: what `add_pod` was told counts."""

    ip: str
    pod: int = 0
    identity: int = 0
    plane: PlaneOf = PlaneOf.SIDECARLESS


@dataclass(frozen=True)
class Plan:
    services: tuple[Service, ...] = ()
    rules: tuple[Rule, ...] = ()
    addresses: tuple[Address, ...] = ()
    divert_unknown: bool = True
    """Destinations outside the mesh go through the node's Envoy."""
    request_events: bool = False
    """An event for each HTTP request, beside the aggregated edges, which are always there."""
