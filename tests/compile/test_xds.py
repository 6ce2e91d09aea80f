"""Compiled snapshots: golden files (`MESHLAB_REFRESH=1` writes them anew), order, checks, purity."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf import any_pb2, json_format

from meshlab.compile.xds import check, compile_pod, direct, names, peers
from meshlab.compile.xds.precedence import candidates
from meshlab.compile.xds.rbac_rules import Scope, rule_policy
from meshlab.compile.xds.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE
from meshlab.errors import NotFound
from meshlab.model.ids import ROOT_NAMESPACE
from meshlab.model.mesh import Mesh, Noun
from meshlab.model.policies import (
    Action,
    AuthorizationPolicy,
    Condition,
    MtlsMode,
    Operation,
    PeerAuthentication,
    Rule,
    Source,
)
from meshlab.model.routes import BackendRef, HTTPMatch, HTTPRoute, HTTPRule, NamedMatch, ParentRef, PathMatch
from meshlab.model.services import HEADLESS, Service, ServicePort
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId, World

_GOLDEN = Path(__file__).parent.parent / "golden" / "xds"
WEB, API, OLD = PodId("shop", "web-1"), PodId("shop", "api-1"), PodId("shop", "old-1")
API_SERVICE = Service("shop", "api", (ServicePort(80, "http", 8080), ServicePort(90, "tcp")), {"app": "api"})
NOUNS: tuple[Noun, ...] = (
    API_SERVICE,
    Service("shop", "peers", (ServicePort(7000, "grpc"),), {"app": "api"}, cluster_ip=HEADLESS),
    Service("shop", "old", (ServicePort(70),), {"app": "old"}),
    HTTPRoute(
        "shop",
        "split",
        (ParentRef("api", "shop", port=80),),
        (HTTPRule(backends=(BackendRef("api", "shop", 80, 9), BackendRef("old", "shop", 70, 1))),),
    ),
    AuthorizationPolicy(
        "shop", "readers", Action.ALLOW, (Rule((Source(namespaces=("shop",)),), (Operation(methods=("GET",)),)),)
    ),
    PeerAuthentication("shop", "default", MtlsMode.STRICT),
)


def world(*nouns: Noun) -> World:
    endpoints = (
        Endpoint(API, "u1", "10.129.0.2", "node-1", "api", "api", {"app": "api"}, ready=True),
        Endpoint(OLD, "u2", "10.129.0.3", "node-1", "old", "default", {"app": "old"}, Mode.NONE, ready=True),
        Endpoint(WEB, "u3", "10.130.0.2", "node-2", "web", "web", {"app": "web"}),
    )
    ips = {("shop", "api"): "10.96.0.1", ("shop", "old"): "10.96.0.2"}
    return World(Mesh.of(nouns or NOUNS), endpoints, ips)


@pytest.mark.parametrize(("url", "file"), [(CLUSTER, "cds"), (ENDPOINT, "eds"), (LISTENER, "lds"), (ROUTE, "rds")])
def test_golden(url: str, file: str) -> None:
    found: dict[str, Any] = {
        name: json_format.MessageToDict(any_pb2.Any.FromString(one.body))
        for name, one in sorted(compile_pod(world(), API).resources[url].items())
    }
    path = _GOLDEN / f"{file}.json"
    if os.environ.get("MESHLAB_REFRESH"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(path.read_text())


@pytest.mark.parametrize("pod", [WEB, API])
def test_nothing_dangles(pod: PodId) -> None:
    assert check(compile_pod(world(), pod)) == ()


def test_same_world_same_bytes() -> None:
    first = compile_pod(world(), API)
    compile_pod(world(API_SERVICE), API)
    again = compile_pod(world(), API)
    assert first == again
    assert first.version == world().version


def test_unknown_pod() -> None:
    with pytest.raises(NotFound):
        compile_pod(world(), PodId("shop", "nobody"))


@pytest.mark.parametrize(
    ("url", "name", "words"),
    [
        (CLUSTER, "outbound|80||api.shop.svc.cluster.local", "no cluster outbound|80||api"),
        (CLUSTER, "outbound|90||api.shop.svc.cluster.local", "no cluster outbound|90||api"),
        (ENDPOINT, "80|api.shop.svc.cluster.local", "no endpoints 80|api"),
        (ROUTE, "inbound|8080||", "no route configuration inbound|8080||"),
    ],
)
def test_check_finds_what_is_missing(url: str, name: str, words: str) -> None:
    snapshot = compile_pod(world(), API)
    fewer = {key: one for key, one in snapshot.resources[url].items() if key != name}
    broken = dataclasses.replace(snapshot, resources={**snapshot.resources, url: fewer})
    assert any(words in problem for problem in check(broken))


def test_only_ready_pods_are_endpoints() -> None:
    sleepy = dataclasses.replace(
        world(), endpoints=tuple(dataclasses.replace(e, ready=False) for e in world().endpoints)
    )
    body = compile_pod(sleepy, WEB).resources[ENDPOINT]["80|api.shop.svc.cluster.local"].body
    made = endpoint_pb2.ClusterLoadAssignment()
    any_pb2.Any.FromString(body).Unpack(made)
    assert not made.endpoints


def test_every_declared_port_covers_every_meshed_pod() -> None:
    """Envoy never goes back from a port to "any port": a hole would be plaintext."""
    covered: dict[int, set[str]] = {}
    for group in direct.groups(world()):
        covered.setdefault(group.port, set()).update(group.ips)
    assert set(covered) == {0, 90, 7000, 8080}
    assert all(ips == {"10.129.0.2", "10.130.0.2"} for ips in covered.values())


def test_disabled_port_is_called_plain() -> None:
    policy = PeerAuthentication("shop", "api", port_modes={90: MtlsMode.DISABLE}, selector={"app": "api"})
    ips = {ip for group in direct.groups(world(API_SERVICE, policy)) if group.port == 90 for ip in group.ips}
    assert ips == {"10.130.0.2"}


def test_peer_authentication_precedence() -> None:
    mesh = PeerAuthentication(ROOT_NAMESPACE, "default", MtlsMode.STRICT)
    namespace = PeerAuthentication("shop", "default", MtlsMode.PERMISSIVE)
    workload = PeerAuthentication("shop", "w", MtlsMode.UNSET, {90: MtlsMode.DISABLE}, {"app": "api"})
    api = world().endpoints[0]
    assert peers.port_mtls(world(API_SERVICE), api, 80) == MtlsMode.PERMISSIVE
    assert peers.port_mtls(world(mesh), api, 80) == MtlsMode.STRICT
    assert peers.port_mtls(world(mesh, namespace), api, 80) == MtlsMode.PERMISSIVE
    assert peers.port_mtls(world(mesh, workload), api, 90) == MtlsMode.DISABLE
    assert peers.port_mtls(world(mesh, workload), api, 80) == MtlsMode.STRICT


def test_gateway_api_precedence() -> None:
    header = (NamedMatch("a", "b"),)
    matches = (
        HTTPMatch("/"),
        HTTPMatch("/a"),
        HTTPMatch("/a/b"),
        HTTPMatch("/a", headers=header),
        HTTPMatch("/a", method="GET"),
        HTTPMatch("/", PathMatch.EXACT),
    )
    newer = HTTPRoute("shop", "a", (ParentRef("api", "shop"),), (HTTPRule((HTTPMatch("/a"),)),), created=2)
    older = HTTPRoute("shop", "b", (ParentRef("api", "shop"),), (HTTPRule(matches),), created=1)
    found = candidates(world(newer, older), API_SERVICE, API_SERVICE.ports[0])
    assert found is not None
    order = [(one.route.name, matches.index(one.match)) for one in found]
    assert order == [("b", 5), ("b", 2), ("b", 4), ("b", 3), ("b", 1), ("a", 1), ("b", 0)]


def test_variants_of_an_undeclared_port() -> None:
    found = compile_pod(world(), WEB).resources[CLUSTER]
    host = "old.shop.svc.cluster.local"
    assert {f"outbound|70||{host}", f"outbound|70|h2|{host}", f"outbound|70|tcp|{host}"} <= set(found)
    assert names.STATIC_CLUSTERS == ("ads", "admin")


def test_layer_7_rules_on_tcp() -> None:
    """An ALLOW rule that needs HTTP is void, a DENY rule is judged by the rest of it."""
    rule = Rule((Source(namespaces=("a",)),), (Operation(methods=("GET",), ports=("90",)),))
    assert rule_policy(rule, Scope("shop", "cluster.local", layer7=False, deny=False)) is None
    denied = rule_policy(rule, Scope("shop", "cluster.local", layer7=False, deny=True))
    assert denied.permissions[0].destination_port == 90
    headers = Rule(conditions=(Condition("request.headers[x]", ("1",)),))
    assert rule_policy(headers, Scope("shop", "cluster.local", layer7=False, deny=False)) is None
    assert rule_policy(headers, Scope("shop", "cluster.local", layer7=False, deny=True)).principals[0].any


@pytest.mark.parametrize(
    ("value", "matcher"),
    [
        ("td/ns/a/sa/b", {"exact": "spiffe://td/ns/a/sa/b"}),
        ("td/ns/*", {"prefix": "spiffe://td/ns/"}),
        ("*/sa/b", {"suffix": "/sa/b"}),
        ("*", {"safe_regex": {"regex": "spiffe://.+"}}),
    ],
)
def test_principals(value: str, matcher: dict[str, Any]) -> None:
    made = rule_policy(Rule((Source(principals=(value,)),)), Scope("shop", "td", layer7=True, deny=False))
    found = made.principals[0].authenticated.principal_name
    assert json_format.MessageToDict(found, preserving_proto_field_name=True) == matcher
