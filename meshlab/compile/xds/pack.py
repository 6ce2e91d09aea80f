"""Messages to resources, deterministically."""

from __future__ import annotations

import hashlib
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from meshlab.model.snapshot import Resource


def any_of(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message, deterministic=True)
    return packed


def resource(name: str, message: Any) -> Resource:
    body = any_of(message).SerializeToString(deterministic=True)
    return Resource(name, hashlib.sha256(body).hexdigest()[:12], body)


def seconds(value: float) -> Duration:
    found = Duration()
    found.FromNanoseconds(round(value * 1e9))
    return found


def u32(value: int) -> UInt32Value:
    return UInt32Value(value=value)
