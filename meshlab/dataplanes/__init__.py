"""The data planes: what each puts into a pod, and its log dialect turned into `FlowEvent`.

In: an `Endpoint`. Out: a `PodPlan` for the runtime. `sidecar/` is one Envoy per pod.
"""
