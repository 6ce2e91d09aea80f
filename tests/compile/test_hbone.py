"""HBONE: who is called through tunnels, where they end, and what holds for the connections in them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from meshlab.compile.xds import check, compile_pod
from meshlab.compile.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from meshlab.model.policies import MtlsMode
from meshlab.model.workloads import Mode
from meshlab.model.world import World
from tests.compile.test_envoy import validate
from tests.compile.test_plan import workload
from tests.compile.test_rbac import policy
from tests.compile.worlds import API, SERVICES, WEB, message, with_ready, world

HOST = "api.shop.svc.cluster.local"
TUNNELLED = SERVICES.replace(
    "metadata: {name: api, namespace: shop}",
    "metadata: {name: api, namespace: shop, labels: {meshlab.io/tunnel: hbone}}",
)


def tunnelled(*texts: str) -> World:
    return with_ready(world(*texts, services=TUNNELLED), API)


def proxied(made: World, name: str) -> dict[str, Any]:
    """The TCP proxy of a ClusterIP's listener."""
    [one] = message(compile_pod(made, WEB), LISTENER, name)["filter_chains"]
    return dict(one["filters"][-1]["typed_config"])


def test_raw_connections_to_a_service_that_wants_it_go_to_the_tunnels_of_its_pods() -> None:
    snapshot = compile_pod(tunnelled(), WEB)
    assert check(snapshot) == ()
    proxy = proxied(tunnelled(), "outbound_10.96.0.1_90")
    assert proxy["tunneling_config"] == {"hostname": f"{HOST}:90"}
    assert proxy["cluster"] == f"outbound|90|hbone|{HOST}"
    assert f"outbound|90||{HOST}" not in snapshot.resources[CLUSTER]
    cluster = message(snapshot, CLUSTER, f"outbound|90|hbone|{HOST}")
    assert cluster["eds_cluster_config"]["service_name"] == f"hbone|90|{HOST}"
    assert "transport_socket_matches" not in cluster, "nothing of it is ever plaintext"
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["alpn_protocols"] == ["h2"]
    [place] = message(snapshot, ENDPOINTS, f"hbone|90|{HOST}")["endpoints"][0]["lb_endpoints"]
    assert place["endpoint"]["address"]["socket_address"] == {"address": "10.129.0.2", "port_value": 15008}
    assert f"90|{HOST}" not in snapshot.resources[ENDPOINTS]


def test_requests_to_it_do_not() -> None:
    snapshot = compile_pod(tunnelled(), WEB)
    for name in (f"outbound|80||{HOST}", f"outbound|70|h1|{HOST}", f"outbound|70|h2|{HOST}"):
        assert not message(snapshot, CLUSTER, name)["eds_cluster_config"]["service_name"].startswith("hbone")
    tcp = message(snapshot, CLUSTER, f"outbound|70|hbone|{HOST}")
    assert tcp["eds_cluster_config"]["service_name"] == f"hbone|70|{HOST}"


@pytest.mark.parametrize(
    "made",
    [
        world(),
        tunnelled(workload("UNSET", f"{{90: {{mode: {MtlsMode.DISABLE}}}}}")),
        dataclasses.replace(
            tunnelled(), endpoints=tuple(dataclasses.replace(e, mode=Mode.NONE) for e in tunnelled().endpoints)
        ),
        dataclasses.replace(tunnelled(), endpoints=()),
    ],
    ids=["not-wanted", "no-mtls-there", "no-mesh-there", "no-pod"],
)
def test_where_a_tunnel_cannot_be_there_is_none(made: World) -> None:
    if made.endpoint(WEB) is None:
        made = dataclasses.replace(made, endpoints=tuple(e for e in world().endpoints if e.pod == WEB))
    assert check(compile_pod(made, WEB)) == ()
    assert "tunneling_config" not in proxied(made, "outbound_10.96.0.1_90")


def test_pods_with_different_container_ports_are_not_tunnelled_to() -> None:
    named = TUNNELLED.replace("{name: tcp, port: 90}", "{name: tcp, port: 90, targetPort: raw}")
    made = world(services=named)
    one, other = made.endpoints[0], made.endpoints[2]
    pods = (
        dataclasses.replace(one, ports={"raw": 1, "web": 8080}),
        dataclasses.replace(other, labels=one.labels, ports={"raw": 2, "web": 8080}),
    )
    assert "tunneling_config" not in proxied(dataclasses.replace(made, endpoints=pods), "outbound_10.96.0.1_90")


def taken(authority: str) -> str:
    """The cluster to which a CONNECT goes in the server's pod: the first route whose authority is this one."""
    for route in message(compile_pod(world(), API), ROUTE, "inbound|hbone||")["virtual_hosts"][0]["routes"]:
        [header] = route["match"]["headers"]
        assert (header["name"], "connect_matcher" in route["match"]) == (":authority", True)
        if re.fullmatch(header["string_match"]["safe_regex"]["regex"], authority):
            return str(route.get("route", {}).get("cluster", "refused"))
    return "none"


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        (f"{HOST}:90", "inbound|hbone|90|"),
        ("10.129.0.2:90", "inbound|hbone|90|"),
        ("10.129.0.2:5432", "inbound|hbone||"),
        ("10.130.0.2:5432", "none"),
        (f"{HOST}:5432", "none"),
        ("10.129.0.2:090", "none"),
        ("10x129.0.2:5432", "none"),
        ("10.129.0.2:5432:90", "none"),
        ("10.129.0.2:15006", "refused"),
        (f"{HOST}:15090", "refused"),
        ("10.129.0.2", "none"),
        ("", "none"),
    ],
)
def test_a_tunnel_ends_at_the_pods_own_application(authority: str, expected: str) -> None:
    assert taken(authority) == expected


def test_rules_see_the_port_of_the_connection_in_the_tunnel() -> None:
    texts = [
        policy("{rules: [{to: [{operation: {ports: ['90']}}], when: [{key: destination.port, notValues: ['91']}]}]}"),
        policy("{action: DENY, rules: [{to: [{operation: {paths: [/x], ports: ['92']}}]}]}", name="d"),
        policy("{rules: [{to: [{operation: {methods: [GET]}}]}]}", name="get"),
    ]
    host = message(compile_pod(world(*texts), API), ROUTE, "inbound|hbone||")["virtual_hosts"][0]
    allow = host["typed_per_filter_config"]["envoy.filters.http.rbac.allow"]["rbac"]
    deny = host["typed_per_filter_config"]["envoy.filters.http.rbac.deny"]["rbac"]
    text = str(allow["rules"])
    assert "{'name': ':authority', 'string_match': {'suffix': ':90'}}" in text
    assert "{'name': ':authority', 'string_match': {'suffix': ':91'}}" in text
    assert set(allow["rules"]["policies"]) == {"ns[shop]-policy[p]-rule[0]"}, "what asks for HTTP allows no connection"
    assert allow["shadow_rules"] == allow["rules"]
    assert "':92'" in str(deny["rules"])
    assert "destination_port" not in text + str(deny)
    assert "url_path" not in str(deny), "and is denied on the rest"


@pytest.mark.parametrize("pod", [API, WEB], ids=["server", "client"])
def test_envoy_takes_tunnels(pod: Any, tmp_path: Path) -> None:
    deny = policy("{action: DENY, rules: [{to: [{operation: {ports: ['92']}}]}]}", name="d")
    validate(tunnelled(policy("{rules: [{}]}"), deny), pod, tmp_path)
