"""Pure compilers: World x pod -> what a data plane is given. No I/O, no clock: same World, same bytes.

`xds/` makes a `Snapshot` for one Envoy, one file per xDS type, and ends in `check()`.
"""
