"""The order in which rules of HTTPRoutes on one Service port are tried (Gateway API, HTTPRouteRule.matches)."""

from __future__ import annotations

from dataclasses import dataclass

from meshlab.model.routes import HTTPMatch, HTTPRoute, HTTPRule, PathMatch
from meshlab.model.services import Service, ServicePort
from meshlab.model.world import World

_KINDS = {PathMatch.EXACT: 0, PathMatch.PREFIX: 1, PathMatch.REGEX: 2}


@dataclass(frozen=True)
class Candidate:
    """One match of one rule."""

    route: HTTPRoute
    index: int
    rule: HTTPRule
    match: HTTPMatch

    @property
    def name(self) -> str:
        return f"{self.route.namespace}/{self.route.name}#{self.index}"


def candidates(world: World, service: Service, port: ServicePort) -> list[Candidate] | None:
    """Matches in the order they are tried; None when no HTTPRoute has this port as its parent.

    Exact path, longest prefix, (regular expression), method, most headers, most query parameters; then the older
    route, its name, the order in the document.
    """
    routes = [route for route in world.mesh.all(HTTPRoute) if _attached(route, service, port)]
    if not routes:
        return None
    found = [
        Candidate(route, index, rule, match)
        for route in sorted(routes, key=lambda one: (one.created, one.namespace, one.name))
        for index, rule in enumerate(route.rules)
        for match in rule.matches or (HTTPMatch(),)
    ]
    return sorted(found, key=lambda one: _rank(one.match))


def _rank(match: HTTPMatch) -> tuple[int, int, bool, int, int]:
    return (_KINDS[match.path_match], -len(match.path), not match.method, -len(match.headers), -len(match.query))


def _attached(route: HTTPRoute, service: Service, port: ServicePort) -> bool:
    return any(
        parent.kind == "Service"
        and (parent.namespace, parent.name) == (service.namespace, service.name)
        and parent.port in (0, port.port)
        and parent.section_name in ("", port.name)
        for parent in route.parents
    )
