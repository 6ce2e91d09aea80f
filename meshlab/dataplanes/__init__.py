"""The data planes: what each puts into a pod, and how each one's own log dialect becomes flow events.

In: an endpoint that a runtime is about to start. Out: its `PodPlan` (rules for its network, companions).
Open next: `sidecar/plane.py`.
"""
