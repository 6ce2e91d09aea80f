"""Documents for the tests of runtimes."""

from __future__ import annotations

from typing import Any

from meshlab.model import documents

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: web-pods, namespace: shop}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: app, image: meshlab/echo, ports: [{name: http, containerPort: 8080}]}
"""


def manifests(text: str = SHOP) -> list[dict[str, Any]]:
    loaded = documents.load(text)
    assert not loaded.problems, loaded.problems
    return list(loaded.manifests)


def changed(text: str, *pairs: tuple[str, str]) -> list[dict[str, Any]]:
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return manifests(text)
