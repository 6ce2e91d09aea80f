"""Domain-free tools: processes, cgroups, network namespaces, the ledger, the background loop, the folder layout.

In: commands, paths, names. Out: running things that can be known again and removed.
Nothing here knows what a mesh is. Open `ledger.py` next: whatever is made is written there first.
"""
