"""The documents that the cases apply: Deployments with their ServiceAccount and Service."""

from __future__ import annotations

from typing import Any

from meshlab.model.services import TUNNEL_LABEL

NAMESPACE = "bench"
PORT = 8080
Document = dict[str, Any]


def namespace(mode: str = "sidecar") -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"meshlab.io/mode": mode}},
    }


def workload(
    name: str,
    *,
    image: str = "meshlab/nginx",
    replicas: int = 1,
    mode: str = "sidecar",
    node: str = "",
    extra: tuple[Document, ...] = (),
    ready_path: str = "",
    protocol: str = "http",
    tunnel: str = "",
) -> list[Document]:
    """A ServiceAccount, a Deployment and a Service on port 80 of one name. `extra` containers come after the first."""
    labels = {"app": name, "meshlab.io/mode": mode}
    meta = {"name": name, "namespace": NAMESPACE}
    app: Document = {"name": "app", "image": image, "ports": [{"name": "http", "containerPort": PORT}]}
    if ready_path:
        app["readinessProbe"] = {"httpGet": {"path": ready_path, "port": PORT}, "periodSeconds": 5}
    spec: Document = {"serviceAccountName": name, "containers": [app, *extra]}
    if node:
        spec["nodeName"] = node
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**meta, "labels": {TUNNEL_LABEL: tunnel} if tunnel else {}},
            "spec": {"selector": {"app": name}, "ports": [{"name": protocol, "port": 80, "targetPort": PORT}]},
        },
    ]


def deny(target: str, source: str) -> Document:
    """A DENY policy: `source` may not call `target`."""
    principal = f"cluster.local/ns/{NAMESPACE}/sa/{source}"
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "deny-source", "namespace": NAMESPACE},
        "spec": {
            "selector": {"matchLabels": {"app": target}},
            "action": "DENY",
            "rules": [{"from": [{"source": {"principals": [principal]}}]}],
        },
    }
