"""LDS: what leaves the pod (15001, one listener per ClusterIP port), what enters it (15006), health, statistics."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from envoy.config.cluster.v3 import cluster_pb2 as cluster
from envoy.config.listener.v3 import listener_components_pb2 as lc
from envoy.config.listener.v3 import listener_pb2 as listener
from envoy.config.route.v3 import route_components_pb2 as rc
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from envoy.extensions.filters.network.direct_response.v3 import config_pb2 as direct_response
from envoy.type.matcher.v3 import regex_pb2 as regex
from envoy.type.matcher.v3 import string_pb2 as string
from google.protobuf.any_pb2 import Any as AnyMessage

from meshlab.compile.plan import Target, container_protocols, is_read, mtls_mode, takes_mtls, targets, variants
from meshlab.compile.xds import clusters, filters, hbone, routes, tls
from meshlab.compile.xds.endpoints import socket
from meshlab.compile.xds.pack import any_of, seconds
from meshlab.compile.xds.plan import HTTP, OWN, Seat
from meshlab.model.policies import MtlsMode
from meshlab.model.services import Protocol
from meshlab.model.wire import (
    CARRIED_PORT,
    HBONE_PORT,
    HEALTH_PORT,
    INBOUND_MARK,
    INBOUND_PORT,
    OUTBOUND_PORT,
    STATS_PORT,
)
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, World

Rules = Mapping[str, AnyMessage]
_END = lc.Filter(name="envoy.filters.network.direct_response", typed_config=any_of(direct_response.Config()))
"""It closes the connection."""
DETECT_S = 0.2
_H1, _H2C = ["http/1.0", "http/1.1"], ["h2c"]
_ORIGINAL = lc.ListenerFilter(
    name="envoy.filters.listener.original_dst", typed_config=any_of(original_dst_pb2.OriginalDst())
)
_SOURCE = lc.ListenerFilter(
    name="envoy.filters.listener.original_src", typed_config=any_of(original_src_pb2.OriginalSrc(mark=INBOUND_MARK))
)
"""The application sees the client's own address. The mark brings its answers back to the proxy."""
_TLS = lc.ListenerFilter(
    name="envoy.filters.listener.tls_inspector", typed_config=any_of(tls_inspector_pb2.TlsInspector())
)
_HTTP = lc.ListenerFilter(
    name="envoy.filters.listener.http_inspector", typed_config=any_of(http_inspector_pb2.HttpInspector())
)


def _listener(
    name: str, ip: str, port: int, inspectors: list[lc.ListenerFilter], seat: Seat = OWN
) -> listener.Listener:
    made = listener.Listener(name=seat.name(name), address=socket(ip, port, seat.netns), listener_filters=inspectors)
    if inspectors:
        made.listener_filters_timeout.CopyFrom(seconds(DETECT_S))
        made.continue_on_listener_filters_timeout = True
    return made


# out


def outbound(world: World, seat: Seat = OWN) -> tuple[listener.Listener, list[cluster.Cluster]]:
    """The listener that every connection out of the pod enters: it hands over to the listener of the address, or
    passes on as it was. Meshed pods called by their own address are told by identity.

    A shared Envoy has no listener of an address (they would be those of several pods at once, which Envoy does not
    tell apart by namespace): there the chains of the ClusterIPs are in this listener."""
    services = [target for target in targets(world) if _cluster_ip(world, target)] if seat.pod else []
    direct, found, detected = _direct(world, {target.port.port for target in services}, seat)
    detected = sorted({*detected, *(target.port.port for target in services if target.protocol is Protocol.AUTO)})
    inspectors = [_ORIGINAL, *([_detecting(detected)] if detected else [])]
    made = _listener("outbound", "127.0.0.1", OUTBOUND_PORT, inspectors, seat)
    made.use_original_dst.value = not seat.pod
    made.traffic_direction = 2
    for target in services:
        made.filter_chains.extend(_target_chains(world, target, seat))
    made.filter_chains.extend(direct)
    made.default_filter_chain.CopyFrom(
        lc.FilterChain(name="passthrough", filters=[filters.tcp_proxy("outbound", clusters.PASSTHROUGH, seat)])
    )
    return made, found


def _detecting(ports: list[int]) -> lc.ListenerFilter:
    """The HTTP inspector for these ports only: elsewhere a server that speaks first would wait for it in vain."""
    rules = [lc.ListenerFilterChainMatchPredicate() for _ in ports]
    for rule, port in zip(rules, ports, strict=True):
        rule.destination_port_range.start, rule.destination_port_range.end = port, port + 1
    made = lc.ListenerFilter(name=_HTTP.name, typed_config=_HTTP.typed_config)
    wanted = made.filter_disabled.not_match
    if len(rules) == 1:
        wanted.CopyFrom(rules[0])
    else:
        wanted.or_match.rules.extend(rules)
    return made


def _direct(
    world: World, more_ports: set[int], seat: Seat
) -> tuple[list[lc.FilterChain], list[cluster.Cluster], list[int]]:
    """One chain per (identity, port, variant) of meshed pods, one cluster per identity; the ports without a hint.
    `more_ports` have chains of their own in the same listener."""
    groups: dict[tuple[str, str, int, str, bool], list[str]] = {}
    meshed = [(pod, container_protocols(world, pod)) for pod in world.endpoints if pod.mode is not Mode.NONE and pod.ip]
    # Envoy chooses by port first and does not come back: a port that one pod declares needs a chain for every pod,
    # or a call to another pod's same port would pass as plaintext.
    ports = sorted({0, *more_ports, *(port for _, declared in meshed for port in declared)})
    for pod, declared in meshed:
        for port in ports:
            protocol = declared.get(port, Protocol.TCP)
            for variant in variants(protocol) if takes_mtls(world, pod, port) else ():
                key = (pod.pod.namespace, pod.service_account, port, variant, protocol is Protocol.AUTO)
                groups.setdefault(key, []).append(pod.ip)
    chains, found = [], {}
    for (namespace, account, port, variant, detect), ips in sorted(groups.items()):
        name = f"outbound||pod|{namespace}.{account}"
        spiffe_id = f"spiffe://{world.trust_domain}/ns/{namespace}/sa/{account}"
        found[name] = clusters.for_identity(name, spiffe_id, seat)
        chains.append(_direct_chain(name, port, variant, detect, ips, seat))
    return chains, list(found.values()), sorted({key[2] for key in groups if key[4]})


def _direct_chain(cluster: str, port: int, variant: str, detect: bool, ips: list[str], seat: Seat) -> lc.FilterChain:
    name = f"{cluster}|{port}|{variant}"
    http = variant in ("h1", "h2")
    match = _towards(sorted(ips), port)
    if detect and http:
        match.application_protocols.extend(_H1 if variant == "h1" else _H2C)
    inner = (
        filters.manager("outbound", routes=_to(cluster, seat), seat=seat)
        if http
        else filters.tcp_proxy("outbound", cluster, seat)
    )
    name += "|detected" if detect else ""
    return lc.FilterChain(name=name, filter_chain_match=match, filters=[filters.speaking(variant), inner])


def _towards(ips: Sequence[str], port: int) -> lc.FilterChainMatch:
    """Connections to one of these addresses, at a port (0: any that no chain names)."""
    match = lc.FilterChainMatch()
    for ip in ips:
        match.prefix_ranges.add(address_prefix=ip).prefix_len.value = 32
    if port:
        match.destination_port.value = port
    return match


def _to(name: str, seat: Seat, rules: Rules = MappingProxyType({})) -> route_pb2.RouteConfiguration:
    action = rc.RouteAction(cluster=seat.name(name))
    action.timeout.CopyFrom(seconds(0))
    return _routes(name, [rc.Route(name="default", match=rc.RouteMatch(prefix="/"), route=action)], seat, rules)


def _routes(name: str, found: list[rc.Route], seat: Seat, rules: Rules) -> route_pb2.RouteConfiguration:
    """Of any host; with the rules of the guards."""
    host = rc.VirtualHost(name="any", domains=["*"], routes=found)
    for guard, config in rules.items():
        host.typed_per_filter_config[guard].CopyFrom(config)
    made = route_pb2.RouteConfiguration(name=seat.name(name), virtual_hosts=[host])
    made.validate_clusters.value = False
    return made


def _cluster_ip(world: World, target: Target) -> str | None:
    """None for a headless Service."""
    return world.cluster_ips.get((target.service.namespace, target.service.name))


def for_target(world: World, target: Target) -> listener.Listener | None:
    """A sidecar's listener of one ClusterIP port; None for a headless Service."""
    address = _cluster_ip(world, target)
    if address is None:
        return None
    inspectors = [_HTTP] if target.protocol is Protocol.AUTO else []
    made = _listener(f"outbound_{address}_{target.port.port}", address, target.port.port, inspectors)
    made.bind_to_port.value = False
    made.traffic_direction = 2
    made.filter_chains.extend(_target_chains(world, target, OWN))
    return made


def _target_chains(world: World, target: Target, seat: Seat) -> list[lc.FilterChain]:
    """A chain per variant; in a shared Envoy each matches the ClusterIP and the port."""
    found = []
    for variant in target.variants:
        http, tunnel = variant in ("h1", "h2"), hbone.authority(target) if target.tunnelled(variant) else ""
        inner = (
            filters.manager("outbound", rds=routes.name_of(target, variant), seat=seat)
            if http
            else filters.tcp_proxy("outbound", target.cluster(variant), seat, tunnel=tunnel)
        )
        match = _towards([_cluster_ip(world, target) or ""], target.port.port) if seat.pod else lc.FilterChainMatch()
        if target.protocol is Protocol.AUTO and http:
            match.application_protocols.extend(_H1 if variant == "h1" else _H2C)
        name = f"{target.cluster('')}|{variant}" if seat.pod else variant
        found.append(lc.FilterChain(name=name, filter_chain_match=match, filters=[inner]))
    return found


def carried(world: World, every: Sequence[Target], seat: Seat) -> listener.Listener:
    """What the kernel reads of what leaves the pod. Every HTTP/1.1 port of a ClusterIP has a chain here beside that of
    HTTP, whoever is carried now: which of the two a connection takes the kernel decides, as it begins. Of what is not
    known (yet) nothing is carried anywhere."""
    made = _listener("carried", "127.0.0.1", CARRIED_PORT, [_ORIGINAL], seat)
    made.traffic_direction = 2
    made.default_filter_chain.CopyFrom(lc.FilterChain(name="unknown", filters=[_END]))
    for target in every:
        address, tunnel = _cluster_ip(world, target), hbone.authority(target) if target.tunnel else ""
        if address is not None:
            through = filters.tcp_proxy("outbound", target.cluster("tcp"), seat, tunnel=tunnel, carried=True)
            inner = [through] if tunnel else [filters.speaking("tcp"), through]  # without one the cluster is HTTP's
            match = _towards([address], target.port.port)
            made.filter_chains.add(name=target.cluster("tcp"), filter_chain_match=match, filters=inner)
    return made


# in


def inbound(world: World, endpoint: Endpoint, seat: Seat = OWN) -> listener.Listener:
    """What enters the pod: mesh TLS is told by its ALPN; plaintext and the application's own TLS pass only where the
    mode is not STRICT."""
    made = _listener("inbound", "0.0.0.0", INBOUND_PORT, [_ORIGINAL, _SOURCE, _TLS, _HTTP], seat)
    made.traffic_direction = 1
    made.access_log.append(filters.refusals(seat))
    declared, guards = container_protocols(world, endpoint), filters.tcp_guards(world, endpoint)
    for port, protocol in [*sorted(declared.items()), (0, Protocol.AUTO)]:
        made.filter_chains.extend(_inbound_chains(world, endpoint, port, protocol, guards, seat))
    return made


def _inbound_chains(
    world: World, endpoint: Endpoint, port: int, protocol: Protocol, guards: list[lc.Filter], seat: Seat
) -> list[lc.FilterChain]:

    def http(http2: bool = False) -> list[lc.Filter]:
        return [filters.manager("inbound", rds=clusters.APPLICATION, guards=filters.GUARDS, http2=http2, seat=seat)]

    def raw() -> list[lc.Filter]:
        return [*guards, filters.tcp_proxy("inbound", clusters.APPLICATION, seat)]

    def chain(kind: str, inner: list[lc.Filter], transport: str, protocols: list[str]) -> lc.FilterChain:
        match = lc.FilterChainMatch(transport_protocol=transport, application_protocols=protocols)
        if port:
            match.destination_port.value = port
        found = lc.FilterChain(name=f"{port}-{kind}", filter_chain_match=match, filters=inner)
        if kind.startswith("mesh"):
            found.transport_socket.CopyFrom(tls.downstream(protocols[0], world.trust_domain, seat.svid))
        return found

    mode = mtls_mode(world, endpoint, port)
    found = []
    if mode is not MtlsMode.DISABLE:
        found.append(chain("mesh-h1", http(), "tls", [tls.ALPN_H1]))
        found.append(chain("mesh-h2", http(http2=True), "tls", [tls.ALPN_H2]))
        # Policies for a port that speaks HTTP hold for HTTP: raw bytes into it would pass them by. What other nodes
        # carry comes only where layer 4 can judge; to its rules a policy for requests is one that lets nobody in.
        if protocol not in HTTP:
            found.append(chain("mesh-tcp", raw(), "tls", [tls.ALPN_TCP]))
        elif seat.pod and is_read(protocol):
            through = filters.tcp_proxy("inbound", clusters.READ, seat, carried=True)
            found.append(chain("mesh-tcp", [*guards, through], "tls", [tls.ALPN_TCP]))
    if mode is not MtlsMode.STRICT:
        if protocol in HTTP:
            found.append(chain("plain", http(), "raw_buffer", []))
        else:
            if protocol is Protocol.AUTO:
                found.append(chain("plain-http", http(), "raw_buffer", [*_H1, *_H2C]))
            found.append(chain("plain-tcp", raw(), "raw_buffer", []))
        found.append(chain("own-tls", raw(), "tls", []))
    return found


def inbound_routes(world: World, endpoint: Endpoint, seat: Seat = OWN) -> route_pb2.RouteConfiguration:
    """The route to the application, and with it the authorization rules."""
    return _to(clusters.APPLICATION, seat, filters.http_rules(world, endpoint))


def tunnels(world: World, endpoint: Endpoint, seat: Seat = OWN) -> listener.Listener:
    """15008: HBONE, whatever plane it comes from."""
    made = _listener("hbone", "0.0.0.0", HBONE_PORT, [_SOURCE], seat)
    made.traffic_direction = 1
    read = bool(seat.pod) and any(map(is_read, container_protocols(world, endpoint).values()))
    chain = made.filter_chains.add(filters=[filters.terminator(hbone.INBOUND, seat, carried=read)])
    chain.transport_socket.CopyFrom(tls.downstream(tls.ALPN_HBONE, world.trust_domain, seat.svid))
    return made


def tunnel_routes(world: World, endpoint: Endpoint, seat: Seat = OWN) -> route_pb2.RouteConfiguration:
    """From the authority of a CONNECT to the application, never to a port of the proxy's; and with it the rules, as
    they hold for connections: they see the same port in the same words, so `:09000` leads nowhere."""
    ports = container_protocols(world, endpoint).items()
    found = [
        _refused(r".*:150\d\d"),
        *(_connect(rf"[^:]+:{port}", clusters.tunnel_end(port, protocol, seat), seat) for port, protocol in ports),
        _connect(rf"{re.escape(endpoint.ip)}:[1-9]\d*", hbone.INBOUND, seat),
    ]
    return _routes(hbone.INBOUND, found, seat, filters.http_rules(world, endpoint, tunnel=True))


def _authority(pattern: str) -> rc.RouteMatch:
    whole = string.StringMatcher(safe_regex=regex.RegexMatcher(regex=pattern))
    made = rc.RouteMatch(headers=[rc.HeaderMatcher(name=":authority", string_match=whole)])
    made.connect_matcher.SetInParent()
    return made


def _refused(pattern: str) -> rc.Route:
    made = rc.Route(match=_authority(pattern))
    made.direct_response.status = 404
    return made


def _connect(pattern: str, cluster: str, seat: Seat) -> rc.Route:
    made = rc.Route(match=_authority(pattern), route=rc.RouteAction(cluster=seat.name(cluster)))
    made.route.timeout.CopyFrom(seconds(0))
    made.route.upgrade_configs.add(upgrade_type="CONNECT").connect_config.SetInParent()
    return made


# the proxy's own


def health(seat: Seat = OWN) -> listener.Listener:
    """15021: 200 once the proxy has its configuration (it comes with it)."""
    answer = rc.Route(name="ready", match=rc.RouteMatch(path="/healthz/ready"))
    answer.direct_response.status = 200
    return _own("health", HEALTH_PORT, answer, seat)


def stats(seat: Seat = OWN) -> listener.Listener:
    """15090: Prometheus text."""
    action = rc.RouteAction(cluster="admin")
    return _own("stats", STATS_PORT, rc.Route(match=rc.RouteMatch(path="/stats/prometheus"), route=action), seat)


def _own(name: str, port: int, route: rc.Route, seat: Seat) -> listener.Listener:
    from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm

    host = rc.VirtualHost(name=name, domains=["*"], routes=[route])
    manager = hcm.HttpConnectionManager(
        stat_prefix=name,
        route_config=route_pb2.RouteConfiguration(name=name, virtual_hosts=[host]),
        http_filters=[filters.ROUTER],
    )
    inner = lc.Filter(name="envoy.filters.network.http_connection_manager", typed_config=any_of(manager))
    made = _listener(name, "0.0.0.0", port, [], seat)
    made.filter_chains.append(lc.FilterChain(filters=[inner]))
    return made
