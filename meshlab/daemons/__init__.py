"""One composition root per process that outlives the lab.

In: the name of a lab. Out: a process that serves until it is told to stop, and can be killed at any moment.
`cluster.py` is the embedded cluster (documents, pods, DNS); `controlplane.py` is registry, compilers, ADS and CA;
`agent.py` is a node's agent of the kernel plane.
"""
