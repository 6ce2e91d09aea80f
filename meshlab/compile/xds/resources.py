"""Protobuf messages to `Resource`s, and the few shapes that every xDS type needs."""

from __future__ import annotations

import hashlib
from typing import Any

from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2
from google.protobuf import any_pb2
from google.protobuf.message import Message

from meshlab.model.snapshot import Resource

_TYPE = "type.googleapis.com/envoy."
LISTENER = f"{_TYPE}config.listener.v3.Listener"
ROUTE = f"{_TYPE}config.route.v3.RouteConfiguration"
CLUSTER = f"{_TYPE}config.cluster.v3.Cluster"
ENDPOINT = f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment"
SECRET = f"{_TYPE}extensions.transport_sockets.tls.v3.Secret"

UNLIMITED = 4_294_967_295


def packed(message: Message) -> any_pb2.Any:
    """A message as `Any`; maps in a fixed order, so that equal content is equal bytes."""
    return any_pb2.Any(
        type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        value=message.SerializeToString(deterministic=True),
    )


def resource(name: str, message: Message) -> Resource:
    body = packed(message).SerializeToString(deterministic=True)
    return Resource(name, hashlib.sha256(body).hexdigest()[:12], body)


def duration(milliseconds: float) -> dict[str, int]:
    """A `google.protobuf.Duration` as keyword arguments."""
    whole, rest = divmod(round(milliseconds * 1000), 1_000_000)
    return {"seconds": whole, "nanos": rest * 1000}


def address(ip: str, port: int) -> Any:
    return address_pb2.Address(socket_address={"address": ip, "port_value": port})


def prefix(ip: str) -> Any:
    return address_pb2.CidrRange(address_prefix=ip, prefix_len={"value": 32})


def ads() -> Any:
    """Fetched over the stream that the rest comes from; nothing is served before it arrived (no fetch timeout)."""
    return config_source_pb2.ConfigSource(
        ads={}, resource_api_version="V3", initial_fetch_timeout={"seconds": 0, "nanos": 0}
    )


def header(name: str, value: str, *, append: bool = False) -> Any:
    """A literal header: `%` would otherwise begin a substitution."""
    action = "APPEND_IF_EXISTS_OR_ADD" if append else "OVERWRITE_IF_EXISTS_OR_ADD"
    pair = {"key": name, "value": value.replace("%", "%%")}
    return base_pb2.HeaderValueOption(header=pair, append_action=action, keep_empty_value=True)
