"""The configuration of one Envoy sidecar, one module per xDS type.

In: a World and a pod. Out: a Snapshot of listeners (LDS), routes (RDS), clusters (CDS) and endpoints (EDS); secrets
(SDS) are made by the control plane with `secrets`, since keys are no part of a World.
`outbound` and `direct` are what the application's own calls meet, `inbound` and `rbac` what calls to it meet, `tls`
and `http` what both share. What may be called is the same for all pods and is compiled once per World.
Open next: `compiler.py`, then `outbound.py`.
"""

from meshlab.compile.xds.check import check
from meshlab.compile.xds.compiler import compile_pod

__all__ = ["check", "compile_pod"]
