"""What a sidecar needs to know: targets, protocols, and the mTLS mode of each port."""

from __future__ import annotations

import dataclasses

import pytest

from meshlab.compile.plan import container_protocols, mtls_mode, takes_mtls, targets
from meshlab.model.services import Protocol
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint
from tests.compile.worlds import API, OLD, world


def peer(spec: str, *, name: str = "p", namespace: str = "shop") -> str:
    meta = f"{{name: {name}, namespace: {namespace}}}"
    return f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {meta}\nspec: {spec}"


def mesh(mode: str) -> str:
    return peer(f"{{mtls: {{mode: {mode}}}}}", namespace="meshlab-system")


def namespace(mode: str) -> str:
    return peer(f"{{mtls: {{mode: {mode}}}}}", name="ns")


def workload(mode: str, ports: str = "{}", app: str = "api") -> str:
    spec = f"{{selector: {{matchLabels: {{app: {app}}}}}, mtls: {{mode: {mode}}}, portLevelMtls: {ports}}}"
    return peer(spec, name="workload")


@pytest.mark.parametrize(
    ("policies", "mode"),
    [
        ((), "PERMISSIVE"),
        ((mesh("STRICT"),), "STRICT"),
        ((mesh("STRICT"), namespace("PERMISSIVE")), "PERMISSIVE"),
        ((mesh("STRICT"), namespace("UNSET")), "STRICT"),
        ((mesh("PERMISSIVE"), namespace("DISABLE"), workload("STRICT")), "STRICT"),
        ((namespace("STRICT"), workload("UNSET")), "STRICT"),
        ((namespace("STRICT"), workload("DISABLE", app="web")), "STRICT"),
        ((workload("STRICT", "{8080: {mode: DISABLE}}"),), "DISABLE"),
        ((workload("STRICT", "{90: {mode: DISABLE}}"),), "STRICT"),
        ((namespace("STRICT"), workload("UNSET", "{8080: {mode: UNSET}}")), "STRICT"),
        ((peer("{mtls: {mode: STRICT}}", namespace="ops"),), "PERMISSIVE"),
    ],
)
def test_the_nearest_level_that_says_something_decides(policies: tuple[str, ...], mode: str) -> None:
    made = world(*policies)
    endpoint = made.endpoint(API)
    assert endpoint is not None
    assert mtls_mode(made, endpoint, 8080) == mode
    assert takes_mtls(made, endpoint, 8080) is (mode != "DISABLE")


def test_a_pod_without_a_proxy_takes_no_mtls_whatever_is_written() -> None:
    made = world(mesh("STRICT"))
    endpoint = made.endpoint(OLD)
    assert endpoint is not None
    assert not takes_mtls(made, endpoint, 70)


def test_every_tcp_port_is_a_target_with_the_variants_of_its_protocol() -> None:
    found = {(t.service.name, t.port.port): (t.protocol, t.variants) for t in targets(world())}
    assert found == {
        ("api", 80): (Protocol.HTTP, ("h1",)),
        ("api", 90): (Protocol.TCP, ("tcp",)),
        ("api", 70): (Protocol.AUTO, ("h1", "h2", "tcp")),
        ("peers", 7000): (Protocol.GRPC, ("h2",)),
        ("old", 70): (Protocol.HTTP, ("h1",)),
    }


def test_a_pods_ports_are_the_target_ports_of_its_services() -> None:
    made = world()
    endpoint = made.endpoint(API)
    assert endpoint is not None
    wanted = {8080: Protocol.HTTP, 90: Protocol.TCP, 70: Protocol.AUTO, 7000: Protocol.GRPC}
    assert container_protocols(made, endpoint) == wanted
    nameless: Endpoint = dataclasses.replace(endpoint, ports={})
    assert 8080 not in container_protocols(dataclasses.replace(made, endpoints=(nameless,)), nameless)
    assert endpoint.mode is Mode.SIDECAR
