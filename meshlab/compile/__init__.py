"""Pure compilers: World x pod -> what a data plane is given. No I/O, no clock: same World, same bytes.

`xds/` makes a `Snapshot` for one Envoy, one file per xDS type; `bpf/` a plan for one node's kernel.
Both end in `check()`.
"""
