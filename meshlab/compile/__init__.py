"""Pure compilers: World x pod -> what a data plane is given. No I/O, no clock: same World, same bytes.

`plan.py` is what both planes read of a World alike: targets, what ports speak, policies, seats. `xds/` makes a
`Snapshot` for one Envoy, one file per xDS type; `bpf/` a `KernelPlan` for one node's kernel, one file per concern.
Neither imports the other; both end in `check()`.
"""
