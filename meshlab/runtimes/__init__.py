"""Where things run, behind one small Protocol.

In: manifests. Out: `Observed` (documents, endpoints, addresses) and pods that can be reached into.
`base.py` has the Protocol and what crosses it; `memory.py` is the fake for tests above; `local/` is the embedded
default on Linux namespaces.
"""
