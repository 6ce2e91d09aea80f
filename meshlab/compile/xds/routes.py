"""RDS: the routes of one Service port, from its HTTPRoutes in the Gateway API's order of precedence."""

from __future__ import annotations

import re
from collections.abc import Iterator

from envoy.config.core.v3 import base_pb2 as core
from envoy.config.route.v3 import route_components_pb2 as rc
from envoy.config.route.v3 import route_pb2
from envoy.type.matcher.v3 import regex_pb2 as regex
from envoy.type.matcher.v3 import string_pb2 as string

from meshlab.compile.plan import Target, is_attached
from meshlab.compile.xds.pack import seconds, u32
from meshlab.compile.xds.plan import OWN, Seat
from meshlab.model.ids import service_host
from meshlab.model.routes import (
    Filters,
    HeaderModifier,
    HTTPMatch,
    HTTPRoute,
    HTTPRule,
    NamedMatch,
    PathMatch,
    Redirect,
    ValueMatch,
)
from meshlab.model.services import Protocol, Service
from meshlab.model.world import World

_RETRY_ON = "connect-failure,refused-stream,reset-before-request,unavailable,cancelled"
_APPEND = core.HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
_OVERWRITE = core.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
Keyed = tuple[tuple[object, ...], HTTPRoute, int, HTTPRule, HTTPMatch]


def name_of(target: Target, variant: str) -> str:
    return target.endpoints if target.protocol is not Protocol.AUTO else f"{target.endpoints}|{variant}"


def configuration(world: World, target: Target, variant: str, seat: Seat = OWN) -> route_pb2.RouteConfiguration:
    """One virtual host for any name: a Service is chosen by its address, not by the Host header (GAMMA)."""
    attached = [route for route in world.mesh.all(HTTPRoute) if is_attached(route, target)]
    routes = [
        _route(world, target, variant, seat, route, index, rule, match)
        for _, route, index, rule, match in sorted(_keyed(attached), key=lambda item: item[0])
    ]
    if not attached:
        action = rc.RouteAction(cluster=seat.name(target.cluster(variant)), retry_policy=_default_retry())
        action.timeout.CopyFrom(seconds(0))
        routes = [rc.Route(name="default", match=rc.RouteMatch(prefix="/"), route=action)]
    host = rc.VirtualHost(name="any", domains=["*"], routes=routes)
    made = route_pb2.RouteConfiguration(name=seat.name(name_of(target, variant)), virtual_hosts=[host])
    made.validate_clusters.value = False
    return made


def _keyed(routes: list[HTTPRoute]) -> Iterator[Keyed]:
    """Each match with its place in the order: exact path, longest prefix, regex, method, headers, query; then the
    oldest route, its name, and the order of its rules."""
    for route in routes:
        for index, rule in enumerate(route.rules):
            for match in rule.matches:
                kind = {PathMatch.EXACT: 0, PathMatch.PREFIX: 1, PathMatch.REGEX: 2}[match.path_match]
                if match.path_match is PathMatch.PREFIX and match.path == "/":
                    kind = 3
                key = (kind, -len(match.path), not match.method, -len(match.headers), -len(match.query),
                       route.created, route.namespace, route.name, index)  # fmt: skip
                yield key, route, index, rule, match


def _route(
    world: World,
    target: Target,
    variant: str,
    seat: Seat,
    route: HTTPRoute,
    index: int,
    rule: HTTPRule,
    match: HTTPMatch,
) -> rc.Route:
    made = rc.Route(name=f"{route.namespace}/{route.name}#{index}", match=_match(match))
    _modify(made, rule.filters)
    if rule.filters.redirect is not None:
        made.redirect.CopyFrom(_redirect(rule.filters.redirect, match))
        return made
    backends = [b for b in rule.backends if b.weight > 0]
    if rule.backends and not backends:
        made.direct_response.status = 500
        return made
    action = made.route
    if not backends:
        action.cluster = seat.name(target.cluster(variant))
    elif any(world.mesh.get(Service, b.namespace, b.name) is None for b in backends):
        made.ClearField("route")
        made.direct_response.status = 500
        return made
    else:
        for backend in backends:
            weighted = action.weighted_clusters.clusters.add()
            weighted.name = seat.name(_backend_cluster(world, backend.namespace, backend.name, backend.port, variant))
            weighted.weight.value = backend.weight
            _modify(weighted, backend.filters)
    _act(world, action, rule, match, variant, seat)
    return made


def _backend_cluster(world: World, namespace: str, name: str, port: int, variant: str) -> str:
    from meshlab.compile.plan import variants
    from meshlab.model.services import port_protocol

    service = world.mesh.get(Service, namespace, name)
    found = next((one for one in service.ports if one.port == port), None) if service else None
    protocol = port_protocol(found) if found else Protocol.HTTP
    middle = variant if protocol is Protocol.AUTO and variant in variants(protocol) else ""
    return f"outbound|{port}|{middle}|{service_host(name, namespace)}"


def _act(world: World, action: rc.RouteAction, rule: HTTPRule, match: HTTPMatch, variant: str, seat: Seat) -> None:
    """Timeouts, retries, rewrites and mirrors of a forwarding route."""
    action.timeout.CopyFrom(seconds((rule.request_timeout_ms or 0) / 1000))
    retry = _default_retry()
    if rule.retry is not None:
        retry = rc.RetryPolicy(retry_on=_RETRY_ON, num_retries=u32(rule.retry.attempts))
        if rule.retry.codes:
            retry.retry_on += ",retriable-status-codes"
            retry.retriable_status_codes.extend(rule.retry.codes)
        retry.retry_back_off.base_interval.CopyFrom(seconds(max(rule.retry.backoff_ms, 1.0) / 1000))
    if rule.backend_timeout_ms:
        retry.per_try_timeout.CopyFrom(seconds(rule.backend_timeout_ms / 1000))
    action.retry_policy.CopyFrom(retry)
    rewrite = rule.filters.rewrite
    if rewrite is not None:
        if rewrite.hostname:
            action.host_rewrite_literal = rewrite.hostname
        if rewrite.path is not None and rewrite.path.full is not None:
            action.regex_rewrite.pattern.CopyFrom(regex.RegexMatcher(regex=r"^[^?]*"))
            action.regex_rewrite.substitution = rewrite.path.full
        elif rewrite.path is not None and rewrite.path.prefix is not None:
            action.regex_rewrite.CopyFrom(_prefix_rewrite(match.path, rewrite.path.prefix))
    for mirror in rule.filters.mirrors:
        policy = action.request_mirror_policies.add()
        policy.cluster = seat.name(_backend_cluster(world, mirror.namespace, mirror.name, mirror.port, variant))
        policy.runtime_fraction.default_value.numerator = round(mirror.percent * 10_000)
        policy.runtime_fraction.default_value.denominator = 2


def _prefix_rewrite(prefix: str, by: str) -> regex.RegexMatchAndSubstitute:
    """/old and /old/x become /new and /new/x, never /newx or //x (the Gateway API's table of ReplacePrefixMatch)."""
    old, new = re.escape(prefix.rstrip("/")), by.rstrip("/").replace("\\", r"\\")
    pattern, slash = f"^{old}/*", "/"
    if old and new and not by.endswith("/"):  # then there is a slash only where the request has one
        pattern, slash = f"^{old}(/?)/*", r"\1"
    return regex.RegexMatchAndSubstitute(pattern=regex.RegexMatcher(regex=pattern), substitution=f"{new}{slash}")


def _default_retry() -> rc.RetryPolicy:
    return rc.RetryPolicy(retry_on=_RETRY_ON, num_retries=u32(2))


def _match(match: HTTPMatch) -> rc.RouteMatch:
    made = rc.RouteMatch()
    if match.path_match is PathMatch.EXACT:
        made.path = match.path
    elif match.path_match is PathMatch.REGEX:
        made.safe_regex.regex = match.path
    elif match.path == "/":
        made.prefix = "/"
    else:
        made.path_separated_prefix = match.path.rstrip("/")
    if match.method:
        made.headers.add(name=":method", string_match=string.StringMatcher(exact=match.method))
    for header in match.headers:
        made.headers.add(name=header.name, string_match=_value(header))
    for query in match.query:
        made.query_parameters.add(name=query.name, string_match=_value(query))
    return made


def _value(match: NamedMatch) -> string.StringMatcher:
    if match.match is ValueMatch.REGEX:
        return string.StringMatcher(safe_regex=regex.RegexMatcher(regex=match.value))
    return string.StringMatcher(exact=match.value)


def _modify(made: rc.Route | rc.WeightedCluster.ClusterWeight, filters: Filters) -> None:
    for modifier, add, remove in (
        (filters.request_headers, made.request_headers_to_add, made.request_headers_to_remove),
        (filters.response_headers, made.response_headers_to_add, made.response_headers_to_remove),
    ):
        if modifier is not None:
            add.extend(_headers(modifier))
            remove.extend(modifier.remove)


def _headers(modifier: HeaderModifier) -> list[core.HeaderValueOption]:
    found = []
    for pairs, action in ((modifier.set, _OVERWRITE), (modifier.add, _APPEND)):
        for key, value in pairs:
            header = core.HeaderValue(key=key, value=value.replace("%", "%%"))
            found.append(core.HeaderValueOption(header=header, append_action=action, keep_empty_value=True))
    return found


def _redirect(redirect: Redirect, match: HTTPMatch) -> rc.RedirectAction:
    codes = {301: 0, 302: 1, 303: 2, 307: 3, 308: 4}
    made = rc.RedirectAction(response_code=codes[redirect.status])
    if redirect.scheme:
        made.scheme_redirect = redirect.scheme
    if redirect.hostname:
        made.host_redirect = redirect.hostname
    if redirect.port:
        made.port_redirect = redirect.port
    if redirect.path is not None and redirect.path.full is not None:
        made.path_redirect = redirect.path.full
    elif redirect.path is not None and redirect.path.prefix is not None:
        made.regex_rewrite.CopyFrom(_prefix_rewrite(match.path, redirect.path.prefix))
    return made
