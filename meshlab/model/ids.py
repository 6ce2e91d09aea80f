"""Names of things: object references, workload identities, DNS names."""

from __future__ import annotations

import re
from dataclasses import dataclass

CLUSTER_DOMAIN = "cluster.local"
DEFAULT_TRUST_DOMAIN = "cluster.local"
DEFAULT_NAMESPACE = "default"
ROOT_NAMESPACE = "meshlab-system"
"""Policies in this namespace apply to the whole mesh (Istio's root namespace)."""

_SPIFFE = re.compile(r"spiffe://(?P<td>[a-z0-9._-]+)/ns/(?P<ns>[^/]+)/sa/(?P<sa>[^/]+)")


@dataclass(frozen=True, order=True, slots=True)
class Ref:
    """One object: `Ref("Service", "shop", "web")`. `namespace` is "" for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        path = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind}/{path}"


@dataclass(frozen=True, order=True, slots=True)
class SpiffeId:
    """A workload identity, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`."""

    trust_domain: str
    namespace: str
    service_account: str

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Read a SPIFFE ID back; ValueError if it is not one of ours."""
        found = _SPIFFE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not spiffe://<trust domain>/ns/<namespace>/sa/<service account>")
        return cls(found["td"], found["ns"], found["sa"])

    @property
    def principal(self) -> str:
        """The form that policies use: the SPIFFE ID without its scheme, as in Istio."""
        return f"{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"

    def __str__(self) -> str:
        return f"spiffe://{self.principal}"


def service_host(name: str, namespace: str) -> str:
    """The full DNS name of a Service."""
    return f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"
