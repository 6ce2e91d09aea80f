"""One Envoy per node for all of its sidecarless pods; and the kernel programs that will take the short ways from it.

In: a node, an `Endpoint`. Out: what the node needs (`plane.py`: the shared Envoy, a companion of the node) and what
each pod needs (interception into that Envoy's sockets, which lie in the pod's own network namespace). The same
compilers, the same wire and the same rows as with sidecars.

The kernel half knows pods by their network namespace and judges every connect. In: pods (`pods.py`), a `Plan` of
services, backends and rules (`policy.py`). Out: verdicts in the kernel, counters, events (`ring.py`). The C is in
`bpf/` (one file a hook); `kernel.py` alone knows bcc, in a process that ends; `node.py` is its face. No lab uses it
yet.
"""

from meshlab.dataplanes.sidecarless.plane import SidecarlessPlane

__all__ = ["SidecarlessPlane"]
