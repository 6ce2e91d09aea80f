"""The documents as they are written, by kind: pydantic shapes with Kubernetes' field names. Unknown fields are errors.

The parts lie in `shapes_core`, `shapes_workloads`, `shapes_policies` and `shapes_routes`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from meshlab.model.shapes_core import Metadata, Shape
from meshlab.model.shapes_policies import AuthorizationPolicySpec, PeerAuthenticationSpec
from meshlab.model.shapes_routes import HTTPRouteSpec
from meshlab.model.shapes_workloads import DeploymentSpec, PodSpec, ServiceSpec


class Document(Shape):
    api_version: str
    kind: str
    metadata: Metadata
    status: dict[str, Any] | None = None


class Namespace(Document):
    spec: dict[str, Any] = Field(default={})


class ServiceAccount(Document):
    pass


class Service(Document):
    spec: ServiceSpec


class Deployment(Document):
    spec: DeploymentSpec


class Pod(Document):
    spec: PodSpec


class HTTPRoute(Document):
    spec: HTTPRouteSpec


class AuthorizationPolicy(Document):
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()


class PeerAuthentication(Document):
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()


KINDS: dict[str, tuple[type[Document], tuple[str, ...]]] = {
    "Namespace": (Namespace, ("v1",)),
    "ServiceAccount": (ServiceAccount, ("v1",)),
    "Service": (Service, ("v1",)),
    "Pod": (Pod, ("v1",)),
    "Deployment": (Deployment, ("apps/v1",)),
    "HTTPRoute": (HTTPRoute, ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")),
    "AuthorizationPolicy": (AuthorizationPolicy, ("security.istio.io/v1", "security.istio.io/v1beta1")),
    "PeerAuthentication": (PeerAuthentication, ("security.istio.io/v1", "security.istio.io/v1beta1")),
}
