"""Layer-4 verdicts of one pod, for every identity that the node's kernel can know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshlab.compile.judgement import Connection, Judgement, judge
from meshlab.compile.plan import container_protocols, policies_for, takes_mtls
from meshlab.model.kernel import KernelRule
from meshlab.model.outcomes import Reason
from meshlab.model.services import Protocol
from meshlab.model.world import Endpoint, World

READABLE = (Protocol.HTTP, Protocol.TCP)
"""What the kernel may carry: HTTP/1.1, which it reads, and what is declared to be nothing but bytes."""
_OTHERS = KernelRule("proxy", Reason.OK)


@dataclass(frozen=True)
class Judged:
    """A connection from an identity to a port that the kernel may carry, and what the policies say of it."""

    source: str
    connection: Connection
    judgement: Judgement


def judged(world: World, endpoint: Endpoint, identities: Sequence[str]) -> tuple[Judged, ...]:
    """One for each port of a pod that the kernel may carry and each identity. It is asked once a pod: what the pod's
    ports speak takes a look at every Service."""
    policies = policies_for(world, endpoint)
    found = []
    for port, protocol in sorted(container_protocols(world, endpoint).items()):
        if protocol in READABLE:
            # Where mTLS is disabled no certificate tells a proxy who calls: policies see nobody there, here as well.
            proven = takes_mtls(world, endpoint, port)
            for identity in identities:
                http, principal = protocol is Protocol.HTTP, identity if proven else ""
                connection = Connection(principal, endpoint.ip, port, http, world.trust_domain)
                found.append(Judged(identity, connection, judge(policies, connection)))
    return tuple(found)


def unsure(found: Sequence[Judged]) -> frozenset[int]:
    """The ports at which layer 4 cannot tell for some identity."""
    return frozenset(one.connection.port for one in found if one.judgement.allowed is None)


def of_pod(found: Sequence[Judged]) -> tuple[KernelRule, ...]:
    """The rules of a pod: whatever none of them knows goes to the proxy."""
    return (_OTHERS, *(rule for one in found if (rule := _rule(one)) is not None))


def _rule(one: Judged) -> KernelRule | None:
    """None: the proxy. It is also who refuses in HTTP, with a status and the name of the rule."""
    port, http, found = one.connection.port, one.connection.http, one.judgement
    if found.allowed is None or (http and not found.allowed):
        return None
    return KernelRule(
        "allow" if found.allowed else "deny", found.reason, port, one.source, found.policy, found.rule, http
    )
