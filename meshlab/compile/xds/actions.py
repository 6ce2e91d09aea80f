"""What a matched route does: weighted backends, headers, redirect, rewrite, mirror, timeouts, retries."""

from __future__ import annotations

import re
from typing import Any

from envoy.config.route.v3 import route_components_pb2 as parts
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import regex_pb2

from meshlab.compile.xds import names
from meshlab.compile.xds.precedence import Candidate
from meshlab.compile.xds.resources import duration, header, packed
from meshlab.model.routes import (
    BackendRef,
    HeaderModifier,
    HTTPMatch,
    HTTPRule,
    Mirror,
    PathMatch,
    PathModifier,
    Redirect,
    Retry,
)
from meshlab.model.services import Protocol, Service, port_protocol
from meshlab.model.world import World

_RETRY_ON = "connect-failure,refused-stream,reset-before-request,unavailable,cancelled"
_RETRIES = 2
_REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def to_cluster(name: str, cluster: str, *, inbound: bool = False) -> Any:
    """Every request to one cluster, no time limit, with the mesh's own retries."""
    retry = _inbound_retry() if inbound else _retry(None)
    action = parts.RouteAction(cluster=cluster, timeout={"seconds": 0}, retry_policy=retry)
    return parts.Route(name=name, match={"prefix": "/"}, route=action)


def route(world: World, candidate: Candidate, variant: str) -> Any:
    """The route of one candidate, without its match."""
    rule = candidate.rule
    made = parts.Route(name=candidate.name)
    _modify(made, rule.filters.request_headers, rule.filters.response_headers)
    if rule.filters.redirect is not None:
        made.redirect.CopyFrom(_redirect(rule.filters.redirect, candidate.match))
    elif sum(backend.weight for backend in rule.backends) <= 0:
        made.direct_response.status = 500
    else:
        made.route.CopyFrom(_action(world, candidate, variant))
    return made


def _action(world: World, candidate: Candidate, variant: str) -> Any:
    rule = candidate.rule
    action = parts.RouteAction(
        cluster_not_found_response_code="INTERNAL_SERVER_ERROR",
        timeout=duration(rule.request_timeout_ms or 0),
        retry_policy=_retry(rule),
        request_mirror_policies=[_mirror(world, mirror, variant) for mirror in rule.filters.mirrors],
    )
    for backend in rule.backends:
        if backend.weight:
            action.weighted_clusters.clusters.append(_weighted(world, backend, variant))
    host = _host(rule)
    if host:
        action.host_rewrite_literal = host
    if rule.filters.rewrite is not None and rule.filters.rewrite.path is not None:
        _rewrite(action, rule.filters.rewrite.path, candidate.match)
    return action


def _weighted(world: World, backend: BackendRef, variant: str) -> Any:
    made = parts.WeightedCluster.ClusterWeight(
        name=_cluster(world, backend.namespace, backend.name, backend.port, variant), weight={"value": backend.weight}
    )
    _modify(made, backend.filters.request_headers, backend.filters.response_headers)
    if backend.filters.rewrite is not None and backend.filters.rewrite.hostname:
        made.host_rewrite_literal = backend.filters.rewrite.hostname
    return made


def _cluster(world: World, namespace: str, name: str, port: int, variant: str) -> str:
    """The backend's cluster in the form that it takes; `unresolved` (500) where there is no such Service or port."""
    service = world.mesh.get(Service, namespace, name)
    if service is None or service.headless:
        return names.UNRESOLVED
    for one in names.tcp_ports(service):
        if one.port == port:
            declared = port_protocol(one)
            if declared in names.HTTP_PROTOCOLS:
                return names.outbound_cluster(service, port)
            return names.outbound_cluster(service, port, variant) if declared == Protocol.AUTO else names.UNRESOLVED
    return names.UNRESOLVED


def _mirror(world: World, mirror: Mirror, variant: str) -> Any:
    cluster = _cluster(world, mirror.namespace, mirror.name, mirror.port, variant)
    share = {"numerator": round(mirror.percent * 10_000), "denominator": "MILLION"}
    return parts.RouteAction.RequestMirrorPolicy(
        cluster=cluster, runtime_fraction={"default_value": share}, disable_shadow_host_suffix_append=True
    )


def _modify(made: Any, request: HeaderModifier | None, response: HeaderModifier | None) -> None:
    """Header changes of a route or of one backend. Host is no header to Envoy, see `_host`."""
    for side, modifier in (("request", request), ("response", response)):
        if modifier is None:
            continue
        added = getattr(made, f"{side}_headers_to_add")
        added.extend(header(name, value) for name, value in modifier.set if name.lower() != "host")
        added.extend(header(name, value, append=True) for name, value in modifier.add if name.lower() != "host")
        getattr(made, f"{side}_headers_to_remove").extend(name for name in modifier.remove if name.lower() != "host")


def _host(rule: HTTPRule) -> str:
    if rule.filters.rewrite is not None and rule.filters.rewrite.hostname:
        return rule.filters.rewrite.hostname
    changed = rule.filters.request_headers
    return next((value for name, value in (changed.set if changed else ()) if name.lower() == "host"), "")


def _redirect(redirect: Redirect, match: HTTPMatch) -> Any:
    made = parts.RedirectAction(
        scheme_redirect=redirect.scheme,
        host_redirect=redirect.hostname,
        port_redirect=redirect.port,
        response_code=_REDIRECTS.get(redirect.status, "FOUND"),
    )
    if redirect.path is not None and redirect.path.full is not None:
        made.path_redirect = redirect.path.full
    elif redirect.path is not None:
        _replace_prefix(made, redirect.path.prefix or "/", match)
    return made


def _rewrite(action: Any, path: PathModifier, match: HTTPMatch) -> None:
    if path.full is not None:
        action.regex_rewrite.CopyFrom(_substitute("^.*$", path.full))
    else:
        _replace_prefix(action, path.prefix or "/", match)


def _replace_prefix(made: Any, value: str, match: HTTPMatch) -> None:
    """ReplacePrefixMatch by path elements: `/a` -> `/` makes `/a/b` into `/b`, never `//b`."""
    old = match.path.rstrip("/") if match.path_match == PathMatch.PREFIX else ""
    new = value.rstrip("/")
    if not old:
        made.prefix_rewrite = f"{new}/"
    elif new:
        made.prefix_rewrite = new
    else:
        made.regex_rewrite.CopyFrom(_substitute(f"^{re.escape(old)}/*", "/"))


def _substitute(pattern: str, value: str) -> Any:
    return regex_pb2.RegexMatchAndSubstitute(pattern={"regex": pattern}, substitution=value.replace("\\", "\\\\"))


def _retry(rule: HTTPRule | None) -> Any:
    """The rule's retries, or the mesh's: only what the backend cannot have begun to work on. Another backend first."""
    policy = parts.RetryPolicy(
        retry_on=_RETRY_ON,
        num_retries={"value": _RETRIES},
        retry_host_predicate=[_previous_hosts()],
        host_selection_retry_max_attempts=5,
    )
    if rule is not None and rule.retry is not None:
        _own_retry(policy, rule.retry)
    if rule is not None and rule.backend_timeout_ms:
        policy.per_try_timeout.FromMicroseconds(round(rule.backend_timeout_ms * 1000))
    return policy


def _own_retry(policy: Any, retry: Retry) -> None:
    codes = "retriable-status-codes" if retry.codes else "gateway-error"
    policy.retry_on = f"{_RETRY_ON},{codes}"
    policy.retriable_status_codes.extend(retry.codes)
    policy.num_retries.value = retry.attempts
    policy.retry_back_off.base_interval.FromMicroseconds(max(1000, round(retry.backoff_ms * 1000)))


def _inbound_retry() -> Any:
    """An idle connection to the application may close as a request is put on it."""
    return parts.RetryPolicy(retry_on="reset-before-request", num_retries={"value": _RETRIES})


def _previous_hosts() -> Any:
    return parts.RetryPolicy.RetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
    )
