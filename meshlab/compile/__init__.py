"""From one World to what the data planes are told. Pure: no I/O, no clock, no environment; same World, same bytes.

In: `model.world.World` and the pod it is for. Out: `model.snapshot.Snapshot` (xDS, room `xds`).
Each compiler ends in a `check()` that finds references to nothing, to be called before anyone is served.
Open next: `xds/__init__.py`.
"""
