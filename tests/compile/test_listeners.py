"""LDS, CDS and EDS where they must agree: which doors a pod has, and who dials which of them how."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.compile.xds import compile_pod
from meshlab.compile.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from meshlab.model.world import World
from tests.compile.test_plan import namespace, workload
from tests.compile.test_rbac import policy
from tests.compile.worlds import API, WEB, message, with_ready, world

HOST = "api.shop.svc.cluster.local"


def doors(made: World) -> dict[str, set[str]]:
    """Port -> the ways in: mesh TLS by what is inside, plaintext, the application's own TLS."""
    found: dict[str, set[str]] = {}
    for chain in message(compile_pod(made, API), LISTENER, "inbound")["filter_chains"]:
        port, _, kind = chain["name"].partition("-")
        found.setdefault(port, set()).add(kind)
        assert ("transport_socket" in chain) is kind.startswith("mesh")
    return found


MESH_HTTP, MESH = {"mesh-h1", "mesh-h2"}, {"mesh-h1", "mesh-h2", "mesh-tcp"}


def test_a_permissive_pod_takes_mesh_tls_plaintext_and_the_applications_own_tls() -> None:
    assert doors(world()) == {
        "8080": MESH_HTTP | {"plain", "own-tls"},
        "7000": MESH_HTTP | {"plain", "own-tls"},
        "90": MESH | {"plain-tcp", "own-tls"},
        "70": MESH | {"plain-http", "plain-tcp", "own-tls"},
        "0": MESH | {"plain-http", "plain-tcp", "own-tls"},
    }


def test_a_strict_pod_takes_mesh_tls_only() -> None:
    assert doors(world(namespace("STRICT"))) == {
        "8080": MESH_HTTP,
        "7000": MESH_HTTP,
        "90": MESH,
        "70": MESH,
        "0": MESH,
    }


def test_a_disabled_port_takes_no_mesh_tls_and_is_dialled_without() -> None:
    made = world(workload("STRICT", "{90: {mode: DISABLE}}"))
    assert doors(made)["90"] == {"plain-tcp", "own-tls"}
    assert doors(made)["8080"] == MESH_HTTP
    snapshot = compile_pod(made, WEB)
    for port, mesh in ((90, False), (80, True)):
        [group] = message(snapshot, ENDPOINTS, f"{port}|{HOST}")["endpoints"]
        [host] = group["lb_endpoints"]
        assert ("metadata" in host) is mesh


def test_only_ready_pods_are_endpoints() -> None:
    assert "endpoints" not in message(compile_pod(with_ready(world()), WEB), ENDPOINTS, f"80|{HOST}")
    [group] = message(compile_pod(with_ready(world(), API), WEB), ENDPOINTS, f"80|{HOST}")["endpoints"]
    address = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "10.129.0.2", "port_value": 8080}


def test_a_pod_without_a_proxy_is_dialled_in_plaintext() -> None:
    [group] = message(compile_pod(world(), WEB), ENDPOINTS, "70|old.shop.svc.cluster.local")["endpoints"]
    assert "metadata" not in group["lb_endpoints"][0]


def upstream(cluster: dict[str, Any]) -> dict[str, Any]:
    [mesh] = [one for one in cluster["transport_socket_matches"] if one["name"] == "mesh"]
    return dict(mesh["transport_socket"]["typed_config"]["common_tls_context"])


def test_the_clients_side_checks_the_identities_of_the_services_pods() -> None:
    context = upstream(message(compile_pod(world(), WEB), CLUSTER, f"outbound|80||{HOST}"))
    default = context["combined_validation_context"]["default_validation_context"]
    assert default["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/shop/sa/api"}}
    ]
    assert context["alpn_protocols"] == ["meshlab-h1"]
    limits = context["tls_params"]
    assert limits["tls_minimum_protocol_version"] == limits["tls_maximum_protocol_version"] == "TLSv1_3"


@pytest.mark.parametrize(("variant", "alpn"), [("h1", "meshlab-h1"), ("h2", "meshlab-h2"), ("tcp", "meshlab")])
def test_each_variant_of_an_undeclared_port_has_its_alpn(variant: str, alpn: str) -> None:
    assert upstream(message(compile_pod(world(), WEB), CLUSTER, f"outbound|70|{variant}|{HOST}"))["alpn_protocols"] == [
        alpn
    ]


def test_the_servers_side_demands_a_certificate_of_the_trust_domain() -> None:
    chains = message(compile_pod(world(), API), LISTENER, "inbound")["filter_chains"]
    contexts = [c["transport_socket"]["typed_config"] for c in chains if "transport_socket" in c]
    assert len(contexts) == 13
    for context in contexts:
        assert context["require_client_certificate"] is True
        validation = context["common_tls_context"]["combined_validation_context"]["default_validation_context"]
        assert validation["match_typed_subject_alt_names"][0]["matcher"] == {"prefix": "spiffe://cluster.local/"}


def test_a_port_that_one_pod_declares_has_a_chain_for_every_meshed_pod() -> None:
    """Envoy never goes back from a port to "any port": a hole would be plaintext."""
    covered: dict[int, set[str]] = {}
    for chain in message(compile_pod(world(), WEB), LISTENER, "outbound")["filter_chains"]:
        match = chain["filter_chain_match"]
        ips = {one["address_prefix"] for one in match["prefix_ranges"]}
        covered.setdefault(match.get("destination_port", 0), set()).update(ips)
    assert set(covered) == {0, 70, 90, 7000, 8080}
    assert all(ips == {"10.129.0.2", "10.130.0.2"} for ips in covered.values())


def test_a_headless_service_has_clusters_but_no_listener() -> None:
    snapshot = compile_pod(world(), WEB)
    assert "outbound|7000||peers.shop.svc.cluster.local" in snapshot.resources[CLUSTER]
    assert set(snapshot.resources[LISTENER]) == {
        "outbound", "inbound", "hbone", "health", "stats",
        "outbound_10.96.0.1_80", "outbound_10.96.0.1_90", "outbound_10.96.0.1_70", "outbound_10.96.0.2_70",
    }  # fmt: skip


def test_http_rules_come_with_the_routes_and_tcp_rules_with_the_listener() -> None:
    texts = [policy("{rules: [{}]}"), policy("{action: DENY, rules: [{to: [{operation: {ports: ['90']}}]}]}", name="d")]
    snapshot = compile_pod(world(*texts), API)
    [host] = message(snapshot, ROUTE, "inbound")["virtual_hosts"]
    assert set(host["typed_per_filter_config"]) == {"envoy.filters.http.rbac.deny", "envoy.filters.http.rbac.allow"}
    chains = message(snapshot, LISTENER, "inbound")["filter_chains"]
    for chain in chains:
        names = [one["name"].removeprefix("envoy.filters.network.") for one in chain["filters"]]
        http = names == ["http_connection_manager"]
        assert http or names == ["rbac.deny", "rbac.allow", "tcp_proxy"]


def test_a_change_of_http_rules_leaves_the_listeners_alone() -> None:
    before = compile_pod(world(policy("{rules: [{to: [{operation: {paths: [/a]}}]}]}")), API)
    after = compile_pod(world(policy("{rules: [{to: [{operation: {paths: [/b]}}]}]}")), API)
    assert before.resources[LISTENER] == after.resources[LISTENER]
    assert before.resources[ROUTE]["inbound"] != after.resources[ROUTE]["inbound"]
