"""A plan as the snapshot that a node's agent is served."""

from __future__ import annotations

import hashlib

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue

from meshlab.model.kernel import KERNEL_TYPE, KernelPlan
from meshlab.model.snapshot import Resource, Snapshot
from meshlab.model.world import World


def snapshot(world: World, plan: KernelPlan) -> Snapshot:
    """One resource a workload and a service; each version is the hash of its content."""
    found = {name: _resource(name, text) for name, text in plan.resources().items()}
    return Snapshot(world.version, {KERNEL_TYPE: found})


def _resource(name: str, text: str) -> Resource:
    body = AnyMessage(type_url=KERNEL_TYPE, value=StringValue(value=text).SerializeToString(deterministic=True))
    return Resource(name, hashlib.sha256(text.encode()).hexdigest()[:12], body.SerializeToString(deterministic=True))
