"""A snapshot as a whole: pure, in one order, without loose ends."""

from __future__ import annotations

import dataclasses
import random

import pytest
from envoy.config.listener.v3 import listener_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from meshlab.compile.xds import check, compile_node, compile_pod
from meshlab.compile.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from meshlab.model import documents
from meshlab.model.mesh import Mesh
from meshlab.model.snapshot import Snapshot
from meshlab.model.workloads import Mode
from meshlab.model.world import PodId, World
from tests.compile.worlds import API, CLUSTER_IPS, OLD, POLICIES, SERVICES, WEB, rich, with_ready, world
from tests.compile.worlds import ENDPOINTS as PODS

HOST = "api.shop.svc.cluster.local"


def test_shuffled_documents_give_the_same_version_and_the_same_bytes() -> None:
    texts = f"{SERVICES}\n---\n{POLICIES}".split("\n---\n")
    first = compile_pod(rich(), API)
    for seed in range(3):
        random.Random(seed).shuffle(texts)
        mesh = documents.load("\n---\n".join(texts)).mesh
        ips = dict(reversed(CLUSTER_IPS.items()))
        again = compile_pod(World(mesh, PODS, ips), API)
        assert again.version == first.version
        assert again.resources == first.resources
        assert [list(found) for found in again.resources.values()] == [
            list(found) for found in first.resources.values()
        ]


def test_a_world_compiled_after_another_is_not_mixed_with_it() -> None:
    first = compile_pod(rich(), API)
    other = compile_pod(world(), API)
    assert other != first
    assert compile_pod(rich(), API) == first
    assert first.version == rich().version != world().version


def test_a_pod_that_is_no_longer_ready_changes_the_endpoints_of_its_services_only() -> None:
    before, after = compile_pod(rich(), WEB), compile_pod(with_ready(rich(), API, WEB), WEB)
    changed = {
        name
        for url, found in before.resources.items()
        for name, one in found.items()
        if after.resources[url].get(name) != one
    }
    assert changed == {"70|old.shop.svc.cluster.local"}


@pytest.mark.parametrize("pod", [API, WEB])
def test_nothing_dangles_in_a_rich_world(pod: PodId) -> None:
    assert check(compile_pod(rich(), pod)) == ()


def test_an_empty_world_compiles() -> None:
    lonely = World(Mesh(), PODS[:1])
    snapshot = compile_pod(lonely, API)
    assert check(snapshot) == ()
    assert set(snapshot.resources[LISTENER]) == {"outbound", "inbound", "hbone", "health", "stats"}


def test_a_pod_that_is_not_there_has_no_snapshot() -> None:
    with pytest.raises(KeyError, match="shop/nobody"):
        compile_pod(rich(), PodId("shop", "nobody"))


def test_keys_and_bodies_are_in_no_repr() -> None:
    snapshot = compile_pod(rich(), API)
    assert "shop" not in repr(snapshot)
    assert "Any" not in repr(snapshot.resources[CLUSTER]["passthrough"])


def without(snapshot: Snapshot, url: str, name: str) -> Snapshot:
    fewer = {key: one for key, one in snapshot.resources[url].items() if key != name}
    assert len(fewer) < len(snapshot.resources[url])
    return dataclasses.replace(snapshot, resources={**snapshot.resources, url: fewer})


@pytest.mark.parametrize(
    ("url", "name", "words"),
    [
        (ENDPOINTS, f"80|{HOST}", f"cluster outbound|80||{HOST} wants endpoints 80|{HOST}"),
        (ROUTE, "inbound", "listener inbound wants route inbound"),
        (ROUTE, f"80|{HOST}", f"listener outbound_10.96.0.1_80 wants route 80|{HOST}"),
        (CLUSTER, "passthrough", "listener outbound wants cluster passthrough"),
        (CLUSTER, f"outbound|90||{HOST}", f"listener outbound_10.96.0.1_90 wants cluster outbound|90||{HOST}"),
        (CLUSTER, "inbound", "listener inbound wants cluster inbound"),
        (CLUSTER, "outbound||pod|shop.api", "listener outbound wants cluster outbound||pod|shop.api"),
        (CLUSTER, f"outbound|80||{HOST}", f"route 80|{HOST} wants cluster outbound|80||{HOST}"),
        (CLUSTER, "outbound|70||old.shop.svc.cluster.local", f"route 80|{HOST} wants cluster outbound|70||old"),
        (CLUSTER, f"outbound|70|h2|{HOST}", f"route 70|{HOST}|h2 wants cluster outbound|70|h2|{HOST}"),
    ],
    ids=["endpoints", "inbound-route", "outbound-route", "default-chain", "tcp-proxy", "inbound-tcp", "inline-route",
         "weighted", "weighted-and-mirror", "plain-route"],
)  # fmt: skip
def test_check_finds_what_is_missing(url: str, name: str, words: str) -> None:
    found = check(without(compile_pod(rich(), API), url, name))
    assert any(problem.startswith(words) for problem in found), found


def test_check_finds_a_mirror_to_nowhere() -> None:
    mirror = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: m, namespace: shop}
spec:
  parentRefs: [{kind: Service, name: api, port: 80}]
  rules:
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: nobody, port: 9}}}]
    backendRefs: [{name: api, port: 80}]
"""
    [problem] = check(compile_pod(world(mirror), API))
    assert problem == f"route 80|{HOST} wants cluster outbound|9||nobody.shop.svc.cluster.local, which is not there"


def test_a_pod_without_a_proxy_is_no_reason_for_chains_of_its_own() -> None:
    names = set(compile_pod(rich(), API).resources[CLUSTER])
    assert not any("pod|shop.default" in name for name in names)
    assert OLD in {one.pod for one in rich().endpoints}


def _seats(*nodes: str) -> World:
    """The rich world with sidecarless pods only, the n-th on the n-th node."""
    pods = zip(PODS, nodes, strict=True)
    changed = [dataclasses.replace(e, mode=Mode.SIDECARLESS, node=n, netns=f"/netns/{e.pod.name}") for e, n in pods]
    return dataclasses.replace(rich(), endpoints=tuple(changed))


def test_a_node_shares_one_envoy_with_sockets_inside_each_of_its_pods() -> None:
    made = compile_node(_seats("n", "n", "m"), "n")
    assert check(made) == ()
    sockets = set()
    for resource in made.resources[LISTENER].values():
        one = listener_pb2.Listener()
        AnyMessage.FromString(resource.body).Unpack(one)
        sockets.add((one.address.socket_address.network_namespace_filepath, one.address.socket_address.port_value))
    wanted = {15001, 15002, 15006, 15008, 15021, 15090}
    assert sockets == {(f"/netns/{name}", port) for name in ("api-1", "old-1") for port in wanted}


def test_a_node_names_no_key_of_a_pod_that_is_not_its_own() -> None:
    made = compile_node(_seats("n", "m", "m"), "n")
    bodies = b"".join(one.body for kind in (CLUSTER, LISTENER) for one in made.resources[kind].values())
    assert b"svid@shop/api-1" in bodies
    assert b"svid@shop/web-1" not in bodies
    assert b"svid@shop/old-1" not in bodies


def test_a_pod_without_a_network_namespace_has_no_seat_yet() -> None:
    made = _seats("n", "n", "n")
    waiting = [dataclasses.replace(e, netns="" if e.pod == WEB else e.netns) for e in made.endpoints]
    listeners = compile_node(dataclasses.replace(made, endpoints=tuple(waiting)), "n").resources[LISTENER]
    assert {name.split("@")[0] for name in listeners} == {"shop/api-1", "shop/old-1"}
