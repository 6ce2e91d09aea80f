"""One lab with the shop for the whole module; removed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from meshlab import Lab


@pytest.fixture(scope="module")
def shop() -> Iterator[Lab]:
    with Lab(f"t{os.getpid() % 100000}") as lab:
        lab.apply("sample:shop")
        lab.apply(STRANGER)
        lab.wait(timeout_s=120)
        yield lab


STRANGER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: stranger, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stranger, namespace: shop}
spec:
  selector: {matchLabels: {app: stranger}}
  template:
    metadata: {labels: {app: stranger}}
    spec:
      serviceAccountName: stranger
      containers: [{name: app, image: meshlab/echo}]
"""
