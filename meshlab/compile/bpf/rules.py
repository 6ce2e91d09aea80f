"""Layer-4 verdicts of one pod, for every identity that the node's kernel can know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshlab.compile.bpf.judgement import Connection, Judgement, judge
from meshlab.compile.plan import container_protocols, policies_for
from meshlab.model.kernel import KernelRule
from meshlab.model.outcomes import Reason
from meshlab.model.services import Protocol
from meshlab.model.world import Endpoint, World

READABLE = (Protocol.HTTP, Protocol.TCP)
"""What the kernel may carry: HTTP/1.1, which it reads, and what is declared to be nothing but bytes."""
_OTHERS = KernelRule("proxy", Reason.OK)


@dataclass(frozen=True)
class Judged:
    """A connection to a port that the kernel may carry, and what the policies say of it."""

    connection: Connection
    judgement: Judgement


def judged(world: World, endpoint: Endpoint, identities: Sequence[str]) -> tuple[Judged, ...]:
    """One for each port of a pod that the kernel may carry and each identity. It is asked once a pod: what the pod's
    ports speak takes a look at every Service."""
    policies = policies_for(world, endpoint)
    connections = [
        Connection(identity, endpoint.ip, port, protocol is Protocol.HTTP, world.trust_domain)
        for port, protocol in sorted(container_protocols(world, endpoint).items())
        if protocol in READABLE
        for identity in identities
    ]
    return tuple(Judged(one, judge(policies, one)) for one in connections)


def unsure(found: Sequence[Judged]) -> frozenset[int]:
    """The ports at which layer 4 cannot tell for some identity."""
    return frozenset(one.connection.port for one in found if one.judgement.allowed is None)


def of_pod(found: Sequence[Judged]) -> tuple[KernelRule, ...]:
    """The rules of a pod: whatever none of them knows goes to the proxy."""
    return (_OTHERS, *(rule for one in found if (rule := _rule(one.connection, one.judgement)) is not None))


def _rule(connection: Connection, judgement: Judgement) -> KernelRule | None:
    """None: the proxy. It is also who refuses in HTTP, with a status and the name of the rule."""
    if judgement.allowed is None or (connection.http and not judgement.allowed):
        return None
    verdict = "allow" if judgement.allowed else "deny"
    return KernelRule(
        verdict, judgement.reason, connection.port, connection.identity, judgement.policy, judgement.rule,
        connection.http,
    )  # fmt: skip
