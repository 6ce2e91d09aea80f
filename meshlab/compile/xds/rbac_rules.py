"""One rule of an AuthorizationPolicy as one policy of Envoy's RBAC."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from envoy.config.rbac.v3 import rbac_pb2

from meshlab.model.policies import Condition, Operation, Rule, Source

_HEADER_KEY = re.compile(r"request\.headers\[(?P<name>[^]]+)\]")
_TEMPLATE = re.compile(r"\{\*\*?\}")
_NEVER_HTTP = ("request.auth.",)

Matcher = dict[str, Any]
"""A permission or a principal, as keyword arguments."""


@dataclass(frozen=True)
class Scope:
    """Where a rule is judged. `layer7`: there is an HTTP request to ask."""

    namespace: str
    trust_domain: str
    layer7: bool
    deny: bool


class _NeedsHTTP(Exception):
    """An attribute of HTTP on a TCP connection."""


def rule_policy(rule: Rule, scope: Scope) -> Any:
    """None where an ALLOW rule can match nothing here."""
    try:
        operations = [_operation(one, scope) for one in rule.operations] or [[]]
        sources = [_source(one, scope) for one in rule.sources] or [[]]
        shared_permissions: list[Matcher] = []
        shared_principals: list[Matcher] = []
        for condition in rule.conditions:
            _condition(condition, scope, shared_permissions, shared_principals)
    except _NeedsHTTP:
        return None
    return rbac_pb2.Policy(
        permissions=[_all(one + shared_permissions, "and_rules", "rules") for one in operations],
        principals=[_all(one + shared_principals, "and_ids", "ids") for one in sources],
    )


def _all(parts: list[Matcher], key: str, inner: str) -> Matcher:
    if not parts:
        return {"any": True}
    return parts[0] if len(parts) == 1 else {key: {inner: parts}}


def _field(
    into: list[Matcher],
    values: Iterable[str],
    unwanted: Iterable[str],
    make: Callable[[str], Matcher],
    *,
    principal: bool,
) -> None:
    """One of `values` and none of `unwanted`."""
    key, inner, negation = ("or_ids", "ids", "not_id") if principal else ("or_rules", "rules", "not_rule")
    for wanted, positive in ((tuple(values), True), (tuple(unwanted), False)):
        if wanted:
            parts = [make(value) for value in wanted]
            either = parts[0] if len(parts) == 1 else {key: {inner: parts}}
            into.append(either if positive else {negation: either})


def _http_field(
    scope: Scope,
    into: list[Matcher],
    values: tuple[str, ...],
    unwanted: tuple[str, ...],
    make: Callable[[str], Matcher],
    *,
    principal: bool,
) -> None:
    """A field that only HTTP has: on TCP it makes an ALLOW rule void and is left out of a DENY rule."""
    if not values and not unwanted:
        return
    if not scope.layer7:
        if not scope.deny:
            raise _NeedsHTTP
        return
    _field(into, values, unwanted, make, principal=principal)


def _operation(operation: Operation, scope: Scope) -> list[Matcher]:
    found: list[Matcher] = []
    _http_field(scope, found, operation.hosts, operation.not_hosts, _host, principal=False)
    _http_field(scope, found, operation.methods, operation.not_methods, _method, principal=False)
    _http_field(scope, found, operation.paths, operation.not_paths, _path, principal=False)
    _field(found, operation.ports, operation.not_ports, _port, principal=False)
    return found


def _source(source: Source, scope: Scope) -> list[Matcher]:
    found: list[Matcher] = []
    _field(found, source.principals, source.not_principals, _principal, principal=True)
    _field(found, source.namespaces, source.not_namespaces, _namespace, principal=True)

    def account(value: str) -> Matcher:
        namespace, _, name = value.rpartition("/")
        return _principal(f"{scope.trust_domain}/ns/{namespace or scope.namespace}/sa/{name}")

    _field(found, source.service_accounts, source.not_service_accounts, account, principal=True)
    requests = source.request_principals, source.not_request_principals
    _http_field(scope, found, *requests, _no_token, principal=True)
    _field(found, source.ip_blocks, source.not_ip_blocks, _direct_ip, principal=True)
    _field(found, source.remote_ip_blocks, source.not_remote_ip_blocks, _remote_ip, principal=True)
    return found


def _condition(condition: Condition, scope: Scope, permissions: list[Matcher], principals: list[Matcher]) -> None:
    key, values, unwanted = condition.key, condition.values, condition.not_values
    header = _HEADER_KEY.fullmatch(key)
    if header is not None:
        name = header["name"].lower()
        _http_field(scope, principals, values, unwanted, lambda value: _header(name, value), principal=True)
    elif key.startswith(_NEVER_HTTP):
        _http_field(scope, principals, values, unwanted, _no_token, principal=True)
    elif key in _SOURCE_KEYS:
        _field(principals, values, unwanted, _SOURCE_KEYS[key], principal=True)
    elif key == "source.serviceAccount":
        accounts = Source(service_accounts=values, not_service_accounts=unwanted)
        principals.extend(_source(accounts, scope))
    elif key in _DESTINATION_KEYS:
        _field(permissions, values, unwanted, _DESTINATION_KEYS[key], principal=False)
    elif scope.deny:
        # A key that is not known here: documents refuse it; should one pass, it denies rather than lets in.
        return
    else:
        raise _NeedsHTTP


def _text(value: str, start: str = "") -> dict[str, Any]:
    """A string matcher of Istio's four forms; `start` is put before what is compared."""
    if value == "*":
        return {"safe_regex": {"regex": f"{re.escape(start)}.+"}}
    if value.endswith("*"):
        return {"prefix": f"{start}{value[:-1]}"}
    if value.startswith("*"):
        return {"suffix": value[1:]}
    return {"exact": f"{start}{value}"}


def _principal(value: str) -> Matcher:
    return {"authenticated": {"principal_name": _text(value, "spiffe://")}}


def _namespace(value: str) -> Matcher:
    part = "[^/]*".join(re.escape(piece) for piece in value.split("*"))
    return {"authenticated": {"principal_name": {"safe_regex": {"regex": f"spiffe://[^/]+/ns/{part}/sa/.+"}}}}


def _no_token(_: str) -> Matcher:
    """Requests carry no verified token here: nothing matches."""
    return {"not_id": {"any": True}}


def _cidr(value: str) -> dict[str, Any]:
    network = ipaddress.ip_network(value, strict=False)
    return {"address_prefix": str(network.network_address), "prefix_len": {"value": network.prefixlen}}


def _direct_ip(value: str) -> Matcher:
    return {"direct_remote_ip": _cidr(value)}


def _remote_ip(value: str) -> Matcher:
    return {"remote_ip": _cidr(value)}


def _destination_ip(value: str) -> Matcher:
    return {"destination_ip": _cidr(value)}


def _port(value: str) -> Matcher:
    return {"destination_port": int(value)}


def _sni(value: str) -> Matcher:
    return {"requested_server_name": _text(value)}


def _header(name: str, value: str) -> Matcher:
    if value == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": _text(value)}}


def _host(value: str) -> Matcher:
    matcher = _header(":authority", value)
    if "string_match" in matcher["header"]:
        matcher["header"]["string_match"]["ignore_case"] = True
    return matcher


def _method(value: str) -> Matcher:
    return _header(":method", value)


def _path(value: str) -> Matcher:
    """Istio's templates: `{*}` is one path element, `{**}` any number of them."""
    if _TEMPLATE.search(value) is None:
        return {"url_path": {"path": _text(value)}}
    pieces = re.split(r"(\{\*\*?\})", value)
    regex = "".join({"{*}": "[^/]+", "{**}": ".*"}.get(piece, re.escape(piece)) for piece in pieces)
    return {"url_path": {"path": {"safe_regex": {"regex": regex}}}}


_SOURCE_KEYS: dict[str, Callable[[str], Matcher]] = {
    "source.ip": _direct_ip,
    "remote.ip": _remote_ip,
    "source.namespace": _namespace,
    "source.principal": _principal,
}
_DESTINATION_KEYS: dict[str, Callable[[str], Matcher]] = {
    "destination.ip": _destination_ip,
    "destination.port": _port,
    "connection.sni": _sni,
}
