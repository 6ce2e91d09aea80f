"""What a compiler gives and the xDS server serves: serialised resources by type, no protobuf in sight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_TYPE = "type.googleapis.com/envoy."
CLUSTER = f"{_TYPE}config.cluster.v3.Cluster"
ENDPOINT = f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_TYPE}config.listener.v3.Listener"
ROUTE = f"{_TYPE}config.route.v3.RouteConfiguration"
SECRET = f"{_TYPE}extensions.transport_sockets.tls.v3.Secret"


@dataclass(frozen=True)
class Resource:
    """One xDS resource: `body` is a serialised `google.protobuf.Any`; `version` the hash of its content."""

    name: str
    version: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Snapshot:
    """All resources for one client. `version` is that of the World it was compiled from."""

    version: str
    resources: Mapping[str, Mapping[str, Resource]] = field(default_factory=dict, repr=False)
    """xDS type URL -> resource name -> resource."""
