"""Documents for these tests, and a kubelet whose pods are only words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meshlab.errors import NotFound
from meshlab.model import documents
from meshlab.model.world import Endpoint, PodId
from meshlab.runtimes.base import ExecResult, PodStatus, ResourceSample
from meshlab.runtimes.local.pod import PodSpec

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


@dataclass
class FakeNetwork:
    """Nodes without links."""

    nodes: dict[str, int] = field(default_factory=lambda: {"node-1": 1, "node-2": 2})


class FakeKubelet:
    """Pods are ready when `ready()` says so and leave when `gone()` does."""

    def __init__(self, on_change: Callable[[], None], logs: Path) -> None:
        self._on_change, self._logs = on_change, logs
        self.pods: dict[PodId, tuple[PodSpec, Endpoint]] = {}
        self.stopping: set[PodId] = set()
        self.nat = ""

    def run(self, spec: PodSpec) -> None:
        ip = f"10.129.0.{len(self.pods) + 2}"
        labels = dict(spec.template.labels)
        self.pods[spec.pod] = (
            spec,
            Endpoint(spec.pod, spec.uid, ip, spec.node, spec.workload, "default", labels, spec.mode, {"http": 8080}),
        )
        self._on_change()

    def ready(self, *pods: PodId) -> None:
        for pod in pods or tuple(self.pods):
            spec, endpoint = self.pods[pod]
            self.pods[pod] = (spec, replace(endpoint, ready=True))
        self._on_change()

    def stop(self, pod: PodId) -> None:
        self.stopping.add(pod)

    def gone(self) -> None:
        for pod in self.stopping:
            del self.pods[pod]
        self.stopping.clear()
        self._on_change()

    def leaving(self, pod: PodId) -> bool:
        return pod in self.stopping

    def specs(self) -> list[PodSpec]:
        return [spec for spec, _ in self.pods.values()]

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for _, endpoint in self.pods.values()]

    def statuses(self) -> list[PodStatus]:
        return [
            PodStatus(
                spec.pod, spec.uid, "Running", e.ready, 0, spec.node, e.ip, spec.mode, spec.workload, "default", (), 1.5
            )
            for spec, e in self.pods.values()
        ]

    def set_service_nat(self, rules: str) -> None:
        self.nat = rules

    def log_path(self, pod: PodId, container: str) -> Path:
        if pod not in self.pods:
            raise NotFound(f"no pod {pod}")
        return self._logs / f"{container or 'app'}.log"

    async def exec(
        self, pod: PodId, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None
    ) -> ExecResult:
        return ExecResult(3, stdin[::-1], f"{pod} {' '.join(command)} {timeout_s}".encode())

    def resources(self) -> list[ResourceSample]:
        return [ResourceSample("cluster", "", "", "", 1, 0.25, 1000, 2000)]
