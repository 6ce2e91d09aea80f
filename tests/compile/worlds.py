"""Worlds for the compilers' tests, written as documents, and messages read back from snapshots."""

from __future__ import annotations

import dataclasses
from typing import Any

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage

from meshlab.model import documents
from meshlab.model.snapshot import Snapshot
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId, World

API, WEB, OLD = PodId("shop", "api-1"), PodId("shop", "web-1"), PodId("shop", "old-1")
ENDPOINTS = (
    Endpoint(API, "u1", "10.129.0.2", "node-1", "api", "api", {"app": "api"}, ports={"web": 8080}, ready=True),
    Endpoint(OLD, "u2", "10.129.0.3", "node-1", "old", "default", {"app": "old"}, Mode.NONE, ready=True),
    Endpoint(WEB, "u3", "10.130.0.2", "node-2", "web", "web", {"app": "web"}),
)
CLUSTER_IPS = {("shop", "api"): "10.96.0.1", ("shop", "old"): "10.96.0.2"}
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec:
  selector: {app: api}
  ports: [{name: http, port: 80, targetPort: web}, {name: tcp, port: 90}, {name: any, port: 70}]
---
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: shop}
spec: {clusterIP: None, selector: {app: api}, ports: [{name: grpc, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: old, namespace: shop}
spec: {selector: {app: old}, ports: [{name: web, port: 70, appProtocol: http}, {name: dns, port: 53, protocol: UDP}]}
"""
POLICIES = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: api, port: 80}]
  rules:
  - matches:
    - {path: {type: PathPrefix, value: /v2}, headers: [{name: x-user, value: ann}], method: GET}
    - {path: {type: Exact, value: /}, queryParams: [{name: q, type: RegularExpression, value: "[0-9]+"}]}
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: x-a, value: "1%"}], add: [{name: x-b, value: "2"}], remove: [x-c]}
    - {type: RequestMirror, requestMirror: {backendRef: {name: old, port: 70}, percent: 25}}
    - {type: URLRewrite, urlRewrite: {hostname: api.example, path: {type: ReplaceFullPath, replaceFullPath: /new}}}
    backendRefs: [{name: api, port: 80, weight: 9}, {name: old, port: 70, weight: 1}]
    timeouts: {request: 3s, backendRequest: 500ms}
    retry: {attempts: 3, codes: [503], backoff: 50ms}
  - matches: [{path: {value: /gone}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, statusCode: 301}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  selector: {matchLabels: {app: api}}
  rules:
  - from: [{source: {namespaces: [shop]}}, {source: {principals: [cluster.local/ns/ops/sa/*]}}]
    to: [{operation: {methods: [GET], paths: [/public/*]}}, {operation: {ports: ["90"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-secrets, namespace: shop}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: [/secret*]}}], when: [{key: "request.headers[x-key]", notValues: [open]}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: api, namespace: shop}
spec: {selector: {matchLabels: {app: api}}, mtls: {mode: STRICT}, portLevelMtls: {90: {mode: PERMISSIVE}}}
"""


def world(*texts: str, services: str = SERVICES, endpoints: tuple[Endpoint, ...] = ENDPOINTS) -> World:
    """The services and these documents; every document must be good."""
    loaded = documents.load("\n---\n".join((services, *texts)))
    assert loaded.problems == ()
    return World(loaded.mesh, endpoints, CLUSTER_IPS)


def rich() -> World:
    return world(POLICIES)


def with_ready(made: World, *ready: PodId) -> World:
    pods = tuple(dataclasses.replace(one, ready=one.pod in ready) for one in made.endpoints)
    return dataclasses.replace(made, endpoints=pods)


def message(snapshot: Snapshot, type_url: str, name: str) -> dict[str, Any]:
    """One resource as JSON with the names of the proto files."""
    body = AnyMessage.FromString(snapshot.resources[type_url][name].body)
    found = json_format.MessageToDict(body, preserving_proto_field_name=True)
    found.pop("@type")
    return found


def plain(proto: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(proto, preserving_proto_field_name=True))
