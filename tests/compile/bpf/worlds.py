"""A node with three sidecarless pods, a pod with a sidecar, one without mesh, and one on another node."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from meshlab.model.kernel import KernelPlan, KernelRule
from meshlab.model.mesh import Mesh
from meshlab.model.policies import AuthorizationPolicy
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId, World
from tests.compile import worlds

NODE = "node-1"
API, WEB, DB = PodId("shop", "api-1"), PodId("shop", "web-1"), PodId("data", "db-1")
ID = "spiffe://cluster.local/ns/{}/sa/{}"
API_ID, WEB_ID, DB_ID = ID.format("shop", "api"), ID.format("shop", "web"), ID.format("data", "db")


def endpoint(pod: PodId, number: int, account: str, mode: Mode = Mode.SIDECARLESS, node: str = NODE) -> Endpoint:
    netns = f"/run/netns/{number}" if node == NODE else "/run/netns/elsewhere"
    return Endpoint(
        pod, f"u{number}", f"10.129.0.{number}", node, account, account, {"app": account}, mode,
        {"web": 8080}, ready=True, netns=netns,
    )  # fmt: skip


PODS = (
    endpoint(API, 2, "api"),
    endpoint(WEB, 3, "web"),
    endpoint(DB, 4, "db"),
    endpoint(PodId("shop", "old-1"), 5, "old", Mode.NONE),
    endpoint(PodId("shop", "proxied-1"), 6, "proxied", Mode.SIDECAR),
)
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec:
  selector: {app: api}
  ports: [{name: http, port: 80, targetPort: web}, {name: tcp, port: 90}, {name: x, port: 70}, {name: grpc, port: 60}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: data}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}]}
"""
ADDRESSES = {("shop", "api"): "10.96.0.1", ("data", "db"): "10.96.0.2"}


def world(*texts: str, pods: tuple[Endpoint, ...] = PODS) -> World:
    return dataclasses.replace(worlds.world(*texts, services=SERVICES, endpoints=pods), cluster_ips=ADDRESSES)


def rules(plan: KernelPlan, pod: PodId) -> dict[tuple[int, str], KernelRule]:
    [found] = [one for one in plan.workloads if one.pod == str(pod)]
    return {(rule.port, rule.source): rule for rule in found.rules}


def policy(spec: str, name: str = "p", namespace: str = "shop") -> str:
    meta = f"{{name: {name}, namespace: {namespace}}}"
    return f"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {meta}\nspec: {spec}"


def world_of(policies: Iterable[AuthorizationPolicy], *texts: str) -> World:
    """The same with policies that are nouns already."""
    made = world(*texts)
    return dataclasses.replace(made, mesh=Mesh.of([*made.mesh.nouns.values(), *policies]))
