"""What we want: documents, typed nouns, checks. Frozen, no I/O.

In: Kubernetes YAML. Out: a `Mesh` of nouns, or every problem at once. `documents.py` is the door (pydantic shapes in
`shapes*.py`, conversion in `nouns.py`), `checks.py` looks across documents, `world.py` is what compilers take.
"""
