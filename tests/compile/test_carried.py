"""HTTP is carried where nothing asks for layer 7, and for whom every pod would let in whatever it asks for."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlab.compile import carried
from meshlab.compile.bpf import check, compile_kernel
from meshlab.compile.plan import policies_for
from meshlab.compile.xds.rbac import compile_rules
from meshlab.compile.xds.snapshot import CLUSTER, LISTENER, compile_node, compile_pod
from meshlab.model.policies import Action, AuthorizationPolicy
from meshlab.model.workloads import Mode
from meshlab.model.world import World
from tests.compile.bpf.worlds import API, API_ID, DB_ID, NODE, PODS, WEB_ID, endpoint, policy, world, world_of
from tests.compile.test_judgement import both, envoy, opposite, policies
from tests.compile.worlds import message

AWAY = endpoint(dataclasses.replace(API, name="api-2"), 9, "api", node="node-2")
ALL = {API_ID, WEB_ID, DB_ID}
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r, namespace: shop}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {parent}, port: {port}}}]
  rules: [{{backendRefs: [{{name: api, port: 80}}]}}]
"""
FROM_WEB = "{selector: {matchLabels: {app: api}}, rules: [{from: [{source: {serviceAccounts: [web]}}]}]}"
DISABLE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: d, namespace: shop}
spec: {mtls: {mode: DISABLE}}
"""


def across(*texts: str) -> World:
    """`api` has a pod on another node."""
    return world(*texts, pods=(*PODS, AWAY))


def test_everyone_is_carried_where_nothing_asks_for_layer_7() -> None:
    assert carried.callers(across()) == {"80|api.shop.svc.cluster.local": ALL}, "neither TCP, nor gRPC, nor undeclared"


@pytest.mark.parametrize(
    "texts",
    [
        (ROUTE.format(parent="api", port=80),),
        (ROUTE.format(parent="other", port=80),),
        (policy("{rules: [{to: [{operation: {methods: [GET]}}]}]}"),),
        (policy("{action: DENY, rules: [{to: [{operation: {paths: [/x]}}]}]}"),),
        (DISABLE,),
    ],
    ids=["parent of a route", "backend of a route", "allows by method", "denies by path", "no mTLS"],
)
def test_what_asks_for_layer_7_gets_it(texts: tuple[str, ...]) -> None:
    assert carried.callers(across(*texts)) == {}


@pytest.mark.parametrize("change", [{"mode": Mode.SIDECAR}, {"mode": Mode.NONE}, {"ports": {}}])
def test_one_pod_that_cannot_take_it_keeps_all_from_it(change: dict[str, object]) -> None:
    pods = (*PODS, dataclasses.replace(AWAY, **change))
    assert carried.callers(world(pods=pods)) == {}


def test_without_a_ready_pod_the_proxy_answers() -> None:
    assert carried.callers(world(pods=tuple(dataclasses.replace(pod, ready=False) for pod in (*PODS, AWAY)))) == {}


def test_whom_a_policy_of_layer_4_lets_in_is_carried_and_others_get_their_refusal_in_http() -> None:
    made = across(policy(FROM_WEB))
    assert carried.callers(made) == {"80|api.shop.svc.cluster.local": {WEB_ID}}


def test_the_kernel_is_told_for_whom() -> None:
    def told(made: World) -> dict[str, tuple[bool, tuple[str, ...]]]:
        plan = compile_kernel(made, NODE)
        assert check(plan) == ()
        return {one.resource.removeprefix("service/"): (one.proxy, one.carried) for one in plan.services}

    assert told(across())["10.96.0.1:80"] == (True, ("",)), "everyone of the node"
    assert told(across(policy(FROM_WEB)))["10.96.0.1:80"] == (True, (WEB_ID,))
    assert told(across(ROUTE.format(parent="api", port=80)))["10.96.0.1:80"] == (True, ())
    assert told(world())["10.96.0.1:80"] == (False, ()), "within the node nothing is carried"
    assert told(across())["10.96.0.1:60"] == (True, ())


def test_the_proxy_dials_raw_and_what_comes_raw_it_hands_over_to_be_read() -> None:
    made = compile_node(across(), NODE)
    [chain] = message(made, LISTENER, "shop/web-1@carried")["filter_chains"]
    assert chain["name"] == "outbound|80||api.shop.svc.cluster.local", "neither TCP, nor gRPC, nor undeclared"
    alpn, inner = chain["filters"]
    [value] = alpn["typed_config"]["on_new_connection"]
    assert value["format_string"]["text_format_source"]["inline_string"] == "meshlab"
    assert inner["typed_config"]["cluster"] == "shop/web-1@outbound|80||api.shop.svc.cluster.local"
    assert inner["typed_config"]["access_log_options"] == {"flush_access_log_on_connected": True}
    inbound = {one["name"]: one for one in message(made, LISTENER, "shop/api-1@inbound")["filter_chains"]}
    proxy = inbound["8080-mesh-tcp"]["filters"][-1]["typed_config"]
    assert (proxy["cluster"], proxy["upstream_connect_mode"]) == (
        "shop/api-1@inbound|read",
        "ON_DOWNSTREAM_DATA",
    )
    [mark] = message(made, CLUSTER, "shop/api-1@inbound|read")["upstream_bind_config"]["socket_options"]
    assert (mark["level"], mark["name"], mark["int_value"]) == ("1", "12", "5")
    assert "60-mesh-tcp" not in inbound, "gRPC is not for the kernel"


def test_what_the_proxy_does_not_know_it_carries_nowhere() -> None:
    """And a listener without any chain Envoy refuses."""
    tcp_only = dataclasses.replace(across(), cluster_ips={})
    made = message(compile_node(tcp_only, NODE), LISTENER, "shop/web-1@carried")
    assert "filter_chains" not in made
    [end] = made["default_filter_chain"]["filters"]
    assert end["name"] == "envoy.filters.network.direct_response"


def test_both_forms_are_there_whatever_is_carried_now() -> None:
    """The kernel chooses as a connection begins, and its plan comes at a time of its own."""
    for texts in ((), (ROUTE.format(parent="api", port=80),), (policy("{action: DENY, rules: [{}]}"),)):
        made = compile_node(across(*texts), NODE)
        assert len(message(made, LISTENER, "shop/web-1@carried")["filter_chains"]) == 1
        chains = {one["name"] for one in message(made, LISTENER, "shop/web-1@outbound")["filter_chains"]}
        assert "outbound|80||api.shop.svc.cluster.local|h1" in chains


def test_a_sidecar_neither_carries_http_nor_takes_it_raw() -> None:
    pods = tuple(dataclasses.replace(pod, mode=Mode.SIDECAR) for pod in (*PODS, AWAY))
    made = compile_pod(world(pods=pods), API)
    assert "carried" not in made.resources[LISTENER]
    assert "8080-mesh-tcp" not in {one["name"] for one in message(made, LISTENER, "inbound")["filter_chains"]}


def test_the_same_world_is_asked_once() -> None:
    assert carried.callers(across()) is carried.callers(across())
    assert carried.callers(across()) is not carried.callers(across(DISABLE))


@settings(max_examples=400, deadline=None)
@given(policies, st.sampled_from([API_ID, WEB_ID, DB_ID]))
def test_whoever_is_carried_is_let_in_by_the_rules_for_raw_connections_too(
    given_: list[AuthorizationPolicy], identity: str
) -> None:
    """The proxy at the other end asks these; they must not refuse whom the rules for requests let in."""
    made = world_of(given_)
    if identity not in carried.callers(made).get("80|api.shop.svc.cluster.local", ()):
        return
    pod = made.endpoint(API)
    assert pod is not None
    assert policies_for(made, pod) is not None
    deny, allow = (compile_rules(made, pod, action, http=False) for action in (Action.DENY, Action.ALLOW))
    denied, _ = envoy(deny, identity, 8080) if deny is not None else (False, "")
    allowed, _ = envoy(allow, identity, 8080) if allow is not None else (True, "")
    assert both([opposite(denied), allowed]) is True
