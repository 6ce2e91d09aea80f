"""eBPF in the kernel, one agent and one Envoy a node, for all of its sidecarless pods.

In: a node, an `Endpoint`. Out: what the node needs (`plane.py`: agent and Envoy, companions of the node) and what each
pod waits for before its application starts. The agent (`agent.py`; its process is `daemons/agent.py`) turns a plan in
names into maps and events into batches, which `flows.py` reads. `node.py` is the face of one node's kernel: pods
(`pods.py`), plans (`policy.py`), counters, events (`ring.py`). The C is in `bpf/` (one file a hook); `kernel.py` alone
knows bcc, in a process that ends. What the kernel leaves to Envoy goes by the same compilers, wire and rows as with
sidecars.
"""

from meshlab.dataplanes.sidecarless.plane import SidecarlessPlane

__all__ = ["SidecarlessPlane"]
