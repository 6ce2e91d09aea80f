"""What one lab is: the choices made at `up`, fixed for its life."""

from __future__ import annotations

from dataclasses import dataclass

from meshlab.model.ids import DEFAULT_TRUST_DOMAIN
from meshlab.model.workloads import Mode


@dataclass(frozen=True)
class Settings:
    """`svid_ttl_s`: life of an SVID, renewed at half life. `mode`: plane of pods that no label decides."""

    name: str = "lab"
    nodes: int = 2
    mode: Mode = Mode.SIDECAR
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    svid_ttl_s: float = 86_400.0
