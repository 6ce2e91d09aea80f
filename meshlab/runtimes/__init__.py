"""Where things run, behind one small Protocol.

In: manifests. Out: `Observed` (documents, endpoints, addresses) and pods that can be reached into.
`base.py` has the Protocol and what crosses it; `local/` is the embedded default on Linux namespaces; `memory.py` is the
shipped fake, for tests of what stands above a runtime.
"""
