"""Layer-4 verdicts of one pod, for every identity that the node's kernel can know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshlab.compile.bpf.judgement import Connection, Judgement, judge
from meshlab.compile.xds.plan import container_protocols
from meshlab.compile.xds.rbac import policies_for
from meshlab.model.kernel import KernelRule
from meshlab.model.outcomes import Reason
from meshlab.model.services import Protocol
from meshlab.model.world import Endpoint, World

READABLE = (Protocol.HTTP, Protocol.TCP)
"""What the kernel may carry: HTTP/1.1, which it reads, and what is declared to be nothing but bytes."""
_OTHERS = KernelRule("proxy", Reason.OK)


def for_pod(world: World, endpoint: Endpoint, identities: Sequence[str]) -> tuple[KernelRule, ...]:
    """The rules of a pod: whatever none of them knows goes to the proxy."""
    found = [
        rule
        for port, identity, judgement in judged(world, endpoint, identities)
        if (rule := _rule(world, endpoint, port, identity, judgement)) is not None
    ]
    return (_OTHERS, *found)


def judged(
    world: World, endpoint: Endpoint, identities: Sequence[str], only: int = 0
) -> Iterator[tuple[int, str, Judgement]]:
    """The verdict for each port (or `only` one) that the kernel may carry and each identity."""
    policies = policies_for(world, endpoint)
    for port, protocol in sorted(container_protocols(world, endpoint).items()):
        if protocol in READABLE and only in (0, port):
            for identity in identities:
                http = protocol is Protocol.HTTP
                yield port, identity, judge(policies, Connection(identity, endpoint.ip, port, http, world.trust_domain))


def _rule(world: World, endpoint: Endpoint, port: int, identity: str, judgement: Judgement) -> KernelRule | None:
    """None: the proxy. It is also who refuses in HTTP, with a status and the name of the rule."""
    http = container_protocols(world, endpoint)[port] is Protocol.HTTP
    if judgement.allowed is None or (http and not judgement.allowed):
        return None
    verdict = "allow" if judgement.allowed else "deny"
    return KernelRule(verdict, judgement.reason, port, identity, judgement.policy, judgement.rule, http)
