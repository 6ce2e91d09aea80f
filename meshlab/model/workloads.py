"""What runs: namespaces, service accounts, pods, deployments (a typed subset of Kubernetes)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Labels = Mapping[str, str]

MODE_LABEL = "meshlab.io/mode"


class Mode(StrEnum):
    """The data plane of a pod: label `meshlab.io/mode` on its namespace or, stronger, on its template."""

    SIDECAR = "sidecar"
    SIDECARLESS = "sidecarless"
    NONE = "none"


@dataclass(frozen=True)
class Namespace:
    name: str
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True)
class ServiceAccount:
    namespace: str
    name: str
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True)
class ContainerPort:
    container_port: int
    name: str = ""
    protocol: str = "TCP"


@dataclass(frozen=True)
class EnvVar:
    """`value`, or `field_path` for the downward API (metadata.name, metadata.namespace, status.podIP, spec.nodeName,
    spec.serviceAccountName, metadata.labels['x'])."""

    name: str
    value: str = ""
    field_path: str = ""


@dataclass(frozen=True)
class Probe:
    """One of http (`path` and `port`), tcp (`port` only) or exec (`command`); times in seconds as in Kubernetes."""

    path: str = ""
    port: int | str = 0
    command: tuple[str, ...] = ()
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True)
class Container:
    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    working_dir: str = ""
    readiness: Probe | None = None
    liveness: Probe | None = None


@dataclass(frozen=True)
class PodTemplate:
    labels: Labels = field(default_factory=dict)
    annotations: Labels = field(default_factory=dict)
    service_account: str = "default"
    containers: tuple[Container, ...] = ()
    termination_grace_s: float = 30.0
    node_name: str = ""
    """Pin to a node; "" lets the runtime choose."""
    restart_policy: str = "Always"


@dataclass(frozen=True)
class Pod:
    """A bare pod; pods of a Deployment are made by the runtime from its template."""

    namespace: str
    name: str
    template: PodTemplate


@dataclass(frozen=True)
class Deployment:
    namespace: str
    name: str
    labels: Labels = field(default_factory=dict)
    replicas: int = 1
    selector: Labels = field(default_factory=dict)
    template: PodTemplate = field(default_factory=PodTemplate)
    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"
    min_ready_s: float = 0.0


def pod_mode(template_labels: Labels, namespace_labels: Labels, default: Mode) -> Mode:
    """The plane of a pod: its own label, then its namespace's, then the lab's default."""
    text = template_labels.get(MODE_LABEL) or namespace_labels.get(MODE_LABEL)
    return Mode(text) if text else default
