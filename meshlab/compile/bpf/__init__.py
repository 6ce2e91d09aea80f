"""World x node -> what the node's kernel enforces by itself.

In: a frozen World. Out: a `KernelPlan` in names; `check` says why it must not be served; `snapshot` is how it travels.
The kernel gets what it can judge exactly: layer-4 verdicts between identities of its own node (`rules.py`, on
`judgement.py`'s three-valued answers), services whose backends are all here (`services.py`). All else it is told to
hand to the node's Envoy.
"""

from meshlab.compile.bpf.check import check
from meshlab.compile.bpf.plan import compile_kernel
from meshlab.compile.bpf.snapshot import snapshot

__all__ = ["check", "compile_kernel", "snapshot"]
