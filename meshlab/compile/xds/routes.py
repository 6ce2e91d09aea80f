"""RDS: for each HTTP port of a Service one virtual host; the Service is chosen by its address, not by Host (GAMMA)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.route.v3 import route_components_pb2 as parts
from envoy.config.route.v3 import route_pb2

from meshlab.compile.xds import actions, names
from meshlab.compile.xds.precedence import Candidate, candidates
from meshlab.compile.xds.resources import resource
from meshlab.model.routes import HTTPMatch, NamedMatch, PathMatch, ValueMatch
from meshlab.model.services import Protocol, Service, ServicePort, port_protocol
from meshlab.model.snapshot import Resource
from meshlab.model.world import World

_DEFAULT = "default"


def service_routes(world: World) -> list[Resource]:
    found = []
    for service in world.mesh.all(Service):
        if service.headless:
            continue
        for port in names.tcp_ports(service):
            protocol = port_protocol(port)
            if protocol in names.HTTP_PROTOCOLS:
                found.append(_service_route(world, service, port, ""))
            elif protocol == Protocol.AUTO:
                found += [_service_route(world, service, port, variant) for variant in ("", "h2")]
    return found


def _service_route(world: World, service: Service, port: ServicePort, variant: str) -> Resource:
    tried = candidates(world, service, port)
    if tried is None:
        route = actions.to_cluster(_DEFAULT, names.outbound_cluster(service, port.port, variant))
        return configuration(names.route_name(service, port.port, variant), [route])
    made = [_route(world, candidate, variant) for candidate in tried]
    return configuration(names.route_name(service, port.port, variant), made)


def configuration(name: str, routes: list[Any], filters: Mapping[str, Any] | None = None) -> Resource:
    """One virtual host for every Host; what no route takes is answered with 404. `filters`: per-filter settings."""
    host = parts.VirtualHost(name=name, domains=["*"], routes=routes, typed_per_filter_config=filters)
    return resource(name, route_pb2.RouteConfiguration(name=name, virtual_hosts=[host]))


def one_cluster(
    name: str, cluster: str, filters: Mapping[str, Any] | None = None, *, inbound: bool = False
) -> Resource:
    """Everything to one cluster."""
    return configuration(name, [actions.to_cluster(_DEFAULT, cluster, inbound=inbound)], filters)


def _route(world: World, candidate: Candidate, variant: str) -> Any:
    route = actions.route(world, candidate, variant)
    route.match.CopyFrom(_match(candidate.match))
    return route


def _match(match: HTTPMatch) -> Any:
    made = parts.RouteMatch(
        headers=[{"name": one.name.lower(), "string_match": _value(one)} for one in match.headers],
        query_parameters=[{"name": one.name, "string_match": _value(one)} for one in match.query],
    )
    if match.method:
        made.headers.add(name=":method", string_match={"exact": match.method})
    if match.path_match == PathMatch.EXACT:
        made.path = match.path
    elif match.path_match == PathMatch.REGEX:
        made.safe_regex.regex = match.path
    elif match.path.rstrip("/"):
        made.path_separated_prefix = match.path.rstrip("/")
    else:
        made.prefix = "/"
    return made


def _value(named: NamedMatch) -> dict[str, Any]:
    if named.match == ValueMatch.REGEX:
        return {"safe_regex": {"regex": named.value}}
    return {"exact": named.value}
