"""World x pod -> the xDS resources of that pod's sidecar.

In: a frozen World. Out: a `Snapshot` of serialised resources; `check` says what in it does not hang together.
`compile/plan.py` says what the pod needs to know (pure nouns), then one file per type: `listeners.py`, `routes.py`,
`clusters.py`, `endpoints.py`, with `filters.py`, `rbac.py`, `tls.py` and `hbone.py` in their service.
"""

from meshlab.compile.plan import seated
from meshlab.compile.xds.check import check
from meshlab.compile.xds.snapshot import compile_node, compile_pod
from meshlab.compile.xds.tls import bundle_resource, svid_resource

__all__ = ["bundle_resource", "check", "compile_node", "compile_pod", "seated", "svid_resource"]
