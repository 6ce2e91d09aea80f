"""What a compiler gives and the xDS server serves: serialised resources by type, no protobuf in sight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
