"""Workloads and services of a node's plan, and what is wrong with one."""

from __future__ import annotations

import dataclasses

from meshlab.compile.bpf import check, compile_kernel, snapshot
from meshlab.model.kernel import KERNEL_TYPE, KernelBackend, KernelPlan, KernelRule, KernelWorkload, plan_of
from meshlab.model.world import World
from tests.compile.bpf.worlds import API, API_ID, DB, NODE, PODS, WEB, WEB_ID, endpoint, policy, rules, world

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: api, port: 80}]
  rules: [{backendRefs: [{name: api, port: 80}]}]
"""


def services(made: World) -> dict[str, tuple[bool, tuple[KernelBackend, ...]]]:
    plan = compile_kernel(made, NODE)
    assert check(plan) == ()
    return {one.resource.removeprefix("service/"): (one.proxy, one.backends) for one in plan.services}


def test_meshed_pods_are_known_and_only_the_nodes_own_sidecarless_ones_have_rules() -> None:
    away = endpoint(dataclasses.replace(WEB, name="web-2"), 9, "web", node="node-2")
    plan = compile_kernel(world(pods=(*PODS, away)), NODE)
    assert {one.pod: (one.plane, bool(one.netns), bool(one.rules)) for one in plan.workloads} == {
        "data/db-1": ("sidecarless", True, True),
        "shop/api-1": ("sidecarless", True, True),
        "shop/web-1": ("sidecarless", True, True),
        "shop/web-2": ("sidecarless", False, False),
        "shop/proxied-1": ("sidecar", False, False),
    }


def test_the_kernel_balances_declared_http_and_tcp_where_all_backends_are_its_own() -> None:
    assert services(world()) == {
        "10.96.0.1:80": (False, (KernelBackend("10.129.0.2", 8080),)),
        "10.96.0.1:90": (False, (KernelBackend("10.129.0.2", 90),)),
        "10.96.0.1:70": (True, ()),  # not declared
        "10.96.0.1:60": (True, ()),  # gRPC
        "10.96.0.2:5432": (False, (KernelBackend("10.129.0.4", 5432),)),
    }


def test_a_route_a_backend_elsewhere_and_a_policy_of_layer_7_leave_a_service_to_the_proxy() -> None:
    assert services(world(ROUTE))["10.96.0.1:80"] == (True, ())
    assert services(world(ROUTE))["10.96.0.1:90"][0] is False
    away = endpoint(dataclasses.replace(API, name="api-2"), 9, "api", node="node-2")
    assert services(world(pods=(*PODS, away)))["10.96.0.1:80"] == (True, ())
    assert services(world(policy("{rules: [{to: [{operation: {methods: [GET]}}]}]}")))["10.96.0.1:80"] == (True, ())


def test_without_a_ready_backend_http_is_answered_by_the_proxy_and_tcp_is_refused() -> None:
    unready = tuple(dataclasses.replace(pod, ready=False) for pod in PODS)
    found = services(world(pods=unready))
    assert found["10.96.0.1:80"] == (True, ())
    assert found["10.96.0.1:90"] == (False, ())


def test_without_policies_every_identity_of_the_node_may_and_all_else_goes_to_the_proxy() -> None:
    found = rules(compile_kernel(world(), NODE), API)
    assert found[0, ""] == KernelRule("proxy", "ok")
    assert found[8080, WEB_ID] == KernelRule("allow", "ok", 8080, WEB_ID, http=True)
    assert found[90, WEB_ID] == KernelRule("allow", "ok", 90, WEB_ID)
    assert {port for port, _ in found} == {0, 90, 8080}


def test_a_denial_is_the_kernels_on_raw_ports_and_the_proxys_in_http() -> None:
    made = world(policy("{selector: {matchLabels: {app: api}}, rules: [{from: [{source: {serviceAccounts: [web]}}]}]}"))
    found = rules(compile_kernel(made, NODE), API)
    assert found[90, WEB_ID] == KernelRule("allow", "policy_allow", 90, WEB_ID, "shop/p", 0)
    assert found[90, API_ID] == KernelRule("deny", "no_allow_match", 90, API_ID)
    assert found[8080, WEB_ID].verdict == "allow"
    assert (8080, API_ID) not in found
    denied = world(policy("{action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]}"))
    assert rules(compile_kernel(denied, NODE), API)[90, WEB_ID] == KernelRule(
        "deny", "policy_deny", 90, WEB_ID, "shop/p", 0
    )


def test_the_same_world_gives_the_same_bytes_and_they_give_the_plan_again() -> None:
    plan = compile_kernel(world(), NODE)
    assert compile_kernel(world(), NODE).resources() == plan.resources()
    again = plan_of(NODE, plan.resources())
    assert sorted(again.services, key=str) == sorted(plan.services, key=str)
    assert sorted(again.workloads, key=str) == sorted(plan.workloads, key=str)
    made = snapshot(world(), plan)
    assert set(made.resources[KERNEL_TYPE]) == set(plan.resources())


def test_a_plan_that_does_not_hang_together_or_fit_is_told() -> None:
    rule = KernelRule("proxy", "ok")
    bad = KernelWorkload(
        "10.0.0.1", "shop/a", API_ID, "sidecarless", "u", "/netns", (KernelRule("allow", "ok", 80),) * 2
    )
    found = check(KernelPlan(NODE, (bad, dataclasses.replace(bad, rules=(rule,)))))
    assert found == (
        "node-1: workload/10.0.0.1 is there 2 times",
        "shop/a: no rule for what no other rule knows",
        "shop/a: 2 rules for port 80 from anyone",
    )
    many = tuple(KernelRule("allow", "ok", port, f"s{source}") for port in range(1, 301) for source in range(500))
    large = dataclasses.replace(bad, rules=(rule, *many))
    assert check(KernelPlan(NODE, (large,))) == ("node-1: 150001 rules, and its kernel has room for 131072",)


def test_identities_are_those_of_the_nodes_own_pods() -> None:
    found = rules(compile_kernel(world(), NODE), DB)
    assert {source.rpartition("/")[2] for port, source in found if port} == {"api", "web", "db"}
