"""One Envoy per node for all of its sidecarless pods.

In: a node, an `Endpoint`. Out: what the node needs (`plane.py`: the shared Envoy, a companion of the node) and what
each pod needs (interception into that Envoy's sockets, which lie in the pod's own network namespace). The same
compilers, the same wire and the same rows as with sidecars.
"""

from meshlab.dataplanes.sidecarless.plane import SidecarlessPlane

__all__ = ["SidecarlessPlane"]
