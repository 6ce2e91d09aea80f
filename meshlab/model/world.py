"""The mesh as it is to be compiled: what is wanted, joined with the pods that a runtime sees."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from meshlab.model.ids import DEFAULT_TRUST_DOMAIN, SpiffeId
from meshlab.model.mesh import Mesh
from meshlab.model.services import Service, ServicePort
from meshlab.model.workloads import Labels, Mode


@dataclass(frozen=True, order=True, slots=True)
class PodId:
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Endpoint:
    """One pod as a runtime sees it. `workload` is its Deployment's name (a bare pod: its own). `ports` are the named
    container ports. `ready`: its readiness probes pass and it is not terminating."""

    pod: PodId
    uid: str
    ip: str
    node: str
    workload: str
    service_account: str
    labels: Labels = field(default_factory=dict)
    mode: Mode = Mode.SIDECAR
    ports: Mapping[str, int] = field(default_factory=dict)
    ready: bool = False
    terminating: bool = False
    netns: str = ""
    """Path of the pod's network namespace on its node; "" until it has one, or where the runtime has no such paths."""


@dataclass(frozen=True, eq=False)
class World:
    """One immutable input for the compilers: same World, same bytes. `version` is its content hash, by which Worlds are
    told apart."""

    mesh: Mesh
    endpoints: tuple[Endpoint, ...] = ()
    """Ordered by pod."""
    cluster_ips: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(namespace, service) -> address that the runtime allocated; headless services are absent."""
    trust_domain: str = DEFAULT_TRUST_DOMAIN

    @cached_property
    def version(self) -> str:
        """Twelve hex digits of the SHA-256 of the content."""
        content = repr(
            (
                [(ref, noun) for ref, noun in self.mesh.nouns.items()],
                self.endpoints,
                sorted(self.cluster_ips.items()),
                self.trust_domain,
            )
        )
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, World) and other.version == self.version

    def __hash__(self) -> int:
        return hash(self.version)

    def endpoint(self, pod: PodId) -> Endpoint | None:
        return self._by_pod.get(pod)

    @cached_property
    def _by_pod(self) -> dict[PodId, Endpoint]:
        return {endpoint.pod: endpoint for endpoint in self.endpoints}

    def identity(self, endpoint: Endpoint) -> SpiffeId:
        return SpiffeId(self.trust_domain, endpoint.pod.namespace, endpoint.service_account)

    def selected(self, service: Service) -> tuple[Endpoint, ...]:
        """The pods behind a Service, ready or not. A Service without a selector has none."""
        if not service.selector:
            return ()
        wanted = service.selector.items()
        return tuple(
            endpoint
            for endpoint in self.endpoints
            if endpoint.pod.namespace == service.namespace and wanted <= endpoint.labels.items()
        )

    def services_of(self, endpoint: Endpoint) -> tuple[Service, ...]:
        """The Services that select a pod."""
        return tuple(
            service
            for service in self.mesh.all(Service)
            if service.selector
            and service.namespace == endpoint.pod.namespace
            and service.selector.items() <= endpoint.labels.items()
        )


def target_port(port: ServicePort, endpoint: Endpoint) -> int | None:
    """The number of a Service port on one pod; None where the pod has no port of that name."""
    if isinstance(port.target_port, str):
        return endpoint.ports.get(port.target_port)
    return port.target_port or port.port
