"""AuthorizationPolicies to Envoy's RBAC, with Istio's meaning: DENY first, then ALLOW if any selects the workload."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from envoy.config.core.v3 import address_pb2 as address
from envoy.config.rbac.v3 import rbac_pb2 as rbac
from envoy.config.route.v3 import route_components_pb2 as rc
from envoy.type.matcher.v3 import path_pb2, string_pb2
from envoy.type.matcher.v3 import regex_pb2 as regex

from meshlab.compile.plan import policies_for, rule_name
from meshlab.model.policies import Action, Condition, Operation, Rule, Source
from meshlab.model.world import Endpoint, World


def compile_rules(
    world: World, endpoint: Endpoint, action: Action, *, http: bool, tunnel: bool = False
) -> rbac.RBAC | None:
    """The rules of one action; None where no policy of that action selects the workload. `tunnel`: they are asked of an
    HTTP/2 CONNECT, for the connection inside it.

    On TCP a rule of an ALLOW policy that asks for layer-7 attributes never matches; that of a DENY policy matches on
    the rest (Istio).
    """
    chosen = [policy for policy in policies_for(world, endpoint) if policy.action is action]
    if not chosen:
        return None
    made = rbac.RBAC(action=rbac.RBAC.ALLOW if action is Action.ALLOW else rbac.RBAC.DENY)
    for policy in chosen:
        for index, rule in enumerate(policy.rules):
            if not http and action is Action.ALLOW and rule.layer7:
                continue
            scope = _Scope(world.trust_domain, policy.namespace, http, tunnel)
            made.policies[rule_name(policy, index)].CopyFrom(_policy(scope, rule))
    return made


@dataclass(frozen=True)
class _Scope:
    """What a value of a rule is read against: a service account without a namespace is of the policy's (Istio)."""

    trust_domain: str
    namespace: str
    http: bool
    tunnel: bool


def _policy(scope: _Scope, rule: Rule) -> rbac.Policy:
    operations = [_and_permission(list(_operation(scope, one))) for one in rule.operations]
    sources = [_and_principal(list(_source(scope, one))) for one in rule.sources]
    permissions = [_or_permission(operations)] if operations else []
    principals = [_or_principal(sources)] if sources else []
    for condition in rule.conditions:
        if condition.key.startswith("request.") and not scope.http:
            continue
        if condition.key.startswith(("destination.", "connection.")):
            permissions.append(_condition_permission(scope, condition))
        else:
            principals.append(_condition_principal(scope, condition))
    return rbac.Policy(permissions=[_and_permission(permissions)], principals=[_and_principal(principals)])


def _and_permission(found: list[rbac.Permission]) -> rbac.Permission:
    return rbac.Permission(and_rules=rbac.Permission.Set(rules=found)) if found else rbac.Permission(any=True)


def _or_permission(found: list[rbac.Permission]) -> rbac.Permission:
    return rbac.Permission(or_rules=rbac.Permission.Set(rules=found))


def _and_principal(found: list[rbac.Principal]) -> rbac.Principal:
    return rbac.Principal(and_ids=rbac.Principal.Set(ids=found)) if found else rbac.Principal(any=True)


def _or_principal(found: list[rbac.Principal]) -> rbac.Principal:
    return rbac.Principal(or_ids=rbac.Principal.Set(ids=found))


def _text(value: str, *, prefix: str = "") -> string_pb2.StringMatcher:
    """Exact, `prefix*`, `*suffix` or `*` (present)."""
    if value == "*":
        return string_pb2.StringMatcher(safe_regex=regex.RegexMatcher(regex=".+"))
    if value.startswith("*"):
        return string_pb2.StringMatcher(suffix=value[1:])
    if value.endswith("*"):
        return string_pb2.StringMatcher(prefix=prefix + value[:-1])
    return string_pb2.StringMatcher(exact=prefix + value)


def _source(scope: _Scope, source: Source) -> Iterable[rbac.Principal]:
    fields: tuple[tuple[tuple[str, ...], tuple[str, ...], Callable[[str], rbac.Principal]], ...] = (
        (source.principals, source.not_principals, _principal),
        (source.namespaces, source.not_namespaces, _namespace),
        (source.service_accounts, source.not_service_accounts, lambda value: _service_account(scope, value)),
        (source.ip_blocks, source.not_ip_blocks, _source_ip),
    )
    for values, not_values, one in fields:
        if values:
            yield _or_principal([one(value) for value in values])
        if not_values:
            yield rbac.Principal(not_id=_or_principal([one(value) for value in not_values]))


def _authenticated(matcher: string_pb2.StringMatcher) -> rbac.Principal:
    return rbac.Principal(authenticated=rbac.Principal.Authenticated(principal_name=matcher))


def _principal(value: str) -> rbac.Principal:
    return _authenticated(_text(value, prefix="spiffe://"))


def _namespace(value: str) -> rbac.Principal:
    parts = [_escape(part) for part in value.split("*")]
    pattern = f"spiffe://[^/]+/ns/{'[^/]*'.join(parts)}/sa/.+"
    return _authenticated(string_pb2.StringMatcher(safe_regex=regex.RegexMatcher(regex=pattern)))


def _service_account(scope: _Scope, value: str) -> rbac.Principal:
    namespace, _, name = value.rpartition("/")
    where = _escape(namespace or scope.namespace)
    pattern = f"spiffe://{_escape(scope.trust_domain)}/ns/{where}/sa/{_escape(name)}"
    return _authenticated(string_pb2.StringMatcher(safe_regex=regex.RegexMatcher(regex=pattern)))


def _escape(text: str) -> str:
    import re

    return re.escape(text).replace(r"\-", "-")


def _cidr(value: str) -> address.CidrRange:
    network = ipaddress.ip_network(value, strict=False)
    made = address.CidrRange(address_prefix=str(network.network_address))
    made.prefix_len.value = network.prefixlen
    return made


def _source_ip(value: str) -> rbac.Principal:
    return rbac.Principal(direct_remote_ip=_cidr(value))


def _operation(scope: _Scope, operation: Operation) -> Iterable[rbac.Permission]:
    fields: list[tuple[tuple[str, ...], tuple[str, ...], Callable[[str], rbac.Permission]]] = [
        (operation.ports, operation.not_ports, lambda value: _port(scope, value))
    ]
    if scope.http:
        fields += [
            (operation.hosts, operation.not_hosts, lambda value: _header(":authority", value, ignore_case=True)),
            (operation.methods, operation.not_methods, lambda value: _header(":method", value)),
            (operation.paths, operation.not_paths, _path),
        ]
    for values, not_values, one in fields:
        if values:
            yield _or_permission([one(value) for value in values])
        if not_values:
            yield rbac.Permission(not_rule=_or_permission([one(value) for value in not_values]))


def _port(scope: _Scope, value: str) -> rbac.Permission:
    """In a tunnel the connection's own port is HBONE's: where it is to go, its authority says."""
    if scope.tunnel:
        suffix = string_pb2.StringMatcher(suffix=f":{int(value)}")
        return rbac.Permission(header=rc.HeaderMatcher(name=":authority", string_match=suffix))
    return rbac.Permission(destination_port=int(value))


def _header(name: str, value: str, *, ignore_case: bool = False) -> rbac.Permission:
    matcher = _text(value)
    if ignore_case and not matcher.HasField("safe_regex"):
        matcher.ignore_case = True
    return rbac.Permission(header=rc.HeaderMatcher(name=name, string_match=matcher))


def _path(value: str) -> rbac.Permission:
    return rbac.Permission(url_path=path_pb2.PathMatcher(path=_text(value)))


def _condition_permission(scope: _Scope, condition: Condition) -> rbac.Permission:
    known: dict[str, Callable[[str], rbac.Permission]] = {
        "destination.ip": lambda value: rbac.Permission(destination_ip=_cidr(value)),
        "destination.port": lambda value: _port(scope, value),
        "connection.sni": lambda value: rbac.Permission(requested_server_name=_text(value)),
    }
    one = known[condition.key]
    found = [_or_permission([one(value) for value in condition.values])] if condition.values else []
    if condition.not_values:
        found.append(rbac.Permission(not_rule=_or_permission([one(value) for value in condition.not_values])))
    return _and_permission(found)


def _condition_principal(scope: _Scope, condition: Condition) -> rbac.Principal:
    def one(value: str) -> rbac.Principal:
        if condition.key == "source.ip":
            return _source_ip(value)
        if condition.key == "source.namespace":
            return _namespace(value)
        if condition.key == "source.principal":
            return _principal(value)
        if condition.key == "source.serviceAccount":
            return _service_account(scope, value)
        name = condition.key.removeprefix("request.headers[").removesuffix("]")
        return rbac.Principal(header=rc.HeaderMatcher(name=name, string_match=_text(value)))

    found = [_or_principal([one(value) for value in condition.values])] if condition.values else []
    if condition.not_values:
        found.append(rbac.Principal(not_id=_or_principal([one(value) for value in condition.not_values])))
    return _and_principal(found)
