"""AuthorizationPolicies judged from a SPIFFE ID and a port: yes, no, or None where that is not enough to tell.

The meaning is that of `compile/xds/rbac.py` (Istio's): DENY first, then ALLOW if any policy selects the workload.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from meshlab.compile.plan import rule_name
from meshlab.model.outcomes import Reason
from meshlab.model.policies import Action, AuthorizationPolicy, Condition, Operation, Rule, Source

Known = bool | None


@dataclass(frozen=True)
class Connection:
    """What is known of a connection before its first byte. `http`: its bytes will be requests."""

    identity: str
    """"": nobody's, which no policy's principal, namespace or service account matches."""
    ip: str
    """The destination's."""
    port: int
    http: bool
    trust_domain: str


@dataclass(frozen=True)
class Judgement:
    """`allowed` None: layer 4 cannot tell. `policy` is `namespace/name`."""

    allowed: Known
    reason: Reason = Reason.OK
    policy: str = ""
    rule: int | None = None


def judge(policies: Sequence[AuthorizationPolicy], connection: Connection) -> Judgement:
    """The verdict of the policies that select a workload, and the first rule that decides, in the order in which
    Envoy asks them (by name)."""
    denied = _first(policies, Action.DENY, connection)
    if denied.allowed is not False:
        return (
            Judgement(None)
            if denied.allowed is None
            else Judgement(False, Reason.POLICY_DENY, denied.policy, denied.rule)
        )
    if not any(policy.action is Action.ALLOW for policy in policies):
        return Judgement(True)
    allowed = _first(policies, Action.ALLOW, connection)
    if allowed.allowed is False:
        return Judgement(False, Reason.NO_ALLOW_MATCH)
    return Judgement(allowed.allowed, Reason.POLICY_ALLOW, allowed.policy, allowed.rule)


def _first(policies: Sequence[AuthorizationPolicy], action: Action, connection: Connection) -> Judgement:
    """Does a rule of this action match? The first that does for sure; None if one may, also where it comes before:
    Envoy would name that one."""
    rules = [
        (rule_name(policy, index), policy, index, rule)
        for policy in policies
        if policy.action is action
        for index, rule in enumerate(policy.rules)
    ]
    for _, policy, index, rule in sorted(rules, key=lambda one: one[0]):
        matched = _rule(rule, policy, connection)
        if matched is None:
            return Judgement(None)
        if matched:
            return Judgement(True, policy=f"{policy.namespace}/{policy.name}", rule=index)
    return Judgement(False)


def _rule(rule: Rule, policy: AuthorizationPolicy, connection: Connection) -> Known:
    raw = not connection.http
    if raw and policy.action is Action.ALLOW and rule.layer7:
        return False
    return _all(
        [
            _any([_source(one, policy.namespace, connection) for one in rule.sources]) if rule.sources else True,
            _any([_operation(one, connection) for one in rule.operations]) if rule.operations else True,
            *(_condition(one, policy.namespace, connection) for one in rule.conditions),
        ]
    )


def _source(source: Source, namespace: str, connection: Connection) -> Known:
    def account(value: str) -> bool:
        return _account(value, namespace, connection)

    unknown = (
        source.request_principals, source.not_request_principals, source.ip_blocks, source.not_ip_blocks,
        source.remote_ip_blocks, source.not_remote_ip_blocks,
    )  # fmt: skip
    return _all(
        [
            _field(source.principals, source.not_principals, lambda value: _principal(value, connection)),
            _field(source.namespaces, source.not_namespaces, lambda value: _namespace(value, connection)),
            _field(source.service_accounts, source.not_service_accounts, account),
            None if any(unknown) else True,
        ]
    )


def _operation(operation: Operation, connection: Connection) -> Known:
    ports = _field(operation.ports, operation.not_ports, lambda value: int(value) == connection.port)
    return _all([ports, None if connection.http and operation.layer7 else True])


def _condition(condition: Condition, namespace: str, connection: Connection) -> Known:
    known: dict[str, Callable[[str], bool]] = {
        "source.principal": lambda value: _principal(value, connection),
        "source.namespace": lambda value: _namespace(value, connection),
        "source.serviceAccount": lambda value: _account(value, namespace, connection),
        "destination.port": lambda value: int(value) == connection.port,
        "destination.ip": lambda value: (
            ipaddress.ip_address(connection.ip) in ipaddress.ip_network(value, strict=False)
        ),
    }
    if not (condition.values or condition.not_values):
        return True
    if condition.key in known:
        return _field(condition.values, condition.not_values, known[condition.key])
    # On raw bytes what asks for a request says nothing (DENY matches on the rest; ALLOW does not come here).
    return True if condition.key.startswith("request.") and not connection.http else None


def _field(values: Sequence[str], not_values: Sequence[str], matches: Callable[[str], bool]) -> bool:
    return (not values or any(map(matches, values))) and not any(map(matches, not_values))


def _text(pattern: str, value: str, prefix: str = "") -> bool:
    """Exact, `prefix*`, `*suffix` or `*` (present)."""
    if pattern == "*":
        return bool(value)
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    if pattern.endswith("*"):
        return value.startswith(prefix + pattern[:-1])
    return value == prefix + pattern


def _principal(pattern: str, connection: Connection) -> bool:
    return _text(pattern, connection.identity, "spiffe://")


def _namespace(pattern: str, connection: Connection) -> bool:
    inner = "[^/]*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(f"spiffe://[^/]+/ns/{inner}/sa/.+", connection.identity) is not None


def _account(value: str, own: str, connection: Connection) -> bool:
    namespace, _, name = value.rpartition("/")
    return connection.identity == f"spiffe://{connection.trust_domain}/ns/{namespace or own}/sa/{name}"


def _all(parts: Iterable[Known]) -> Known:
    found = list(parts)
    return False if False in found else None if None in found else True


def _any(parts: Iterable[Known]) -> Known:
    found = list(parts)
    return True if True in found else None if None in found else False
