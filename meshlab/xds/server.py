"""The gRPC shell: AggregatedDiscoveryService (both variants) and the door for access logs, on one Unix socket."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import grpc
from envoy.service.accesslog.v3 import als_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from meshlab.errors import MeshlabError
from meshlab.model.snapshot import Resource, Snapshot
from meshlab.xds.conversation import Answer, Conversation, Request, Response

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_ALS = "envoy.service.accesslog.v3.AccessLogService"
_FLOWS = "meshlab.kernel.v1.FlowService"
KERNEL_FLOWS = f"/{_FLOWS}/Send"
"""Unary: `BATCH_HEAD` and a batch of events in the kernel plane's own dialect; the answer is `BATCH_ANSWER`."""
BATCH_HEAD = struct.Struct("<IQQQ")
"""Rows, the ring buffer's number, and the positions in it at which the batch begins and ends."""
BATCH_ANSWER = struct.Struct("<Q")
"""The position up to which everything has been taken: the end of the batch, or, where it begins before what is here
already (sent by an agent that died before it heard of it), that place; nothing of the batch is taken then."""


class Desk(Protocol):
    """What the server asks of its owner."""

    def admit(self, token: str, node_id: str) -> str:
        """The client's name (`namespace/pod`). MeshlabError refuses it."""
        ...

    def opened(self, client: str, *, fresh: bool) -> None:
        """A stream to a client; `fresh`: it holds no configuration yet, so it is a process that has just started."""
        ...

    def closed(self, client: str) -> None: ...
    def pushed(self, client: str, response: Response) -> None: ...
    def answered(self, client: str, answer: Answer, *, settled: bool) -> None: ...
    def logged(self, client: str, payload: bytes, rows: int) -> None: ...


class _Stream:
    def __init__(self, delta: bool) -> None:
        self.conversation = Conversation(delta=delta)
        self.wake = asyncio.Event()


class AdsServer:
    """Serves each admitted client its own snapshot. `offer` replaces a snapshot; the newest one wins."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._snapshots: dict[str, Snapshot] = {}
        self._streams: dict[str, set[_Stream]] = {}
        self._rings: dict[tuple[str, int], int] = {}
        """Client and ring buffer -> the position up to which its events are kept."""
        self._server: grpc.aio.Server | None = None

    def offer(self, client: str, snapshot: Snapshot) -> None:
        self._snapshots[client] = snapshot
        for stream in self._streams.get(client, ()):
            stream.conversation.offer(snapshot)
            stream.wake.set()

    def settled(self, client: str) -> bool:
        """Has the client acknowledged all that it is offered?"""
        streams = self._streams.get(client, set())
        return bool(streams) and all(stream.conversation.settled for stream in streams)

    def forget(self, client: str) -> None:
        self._snapshots.pop(client, None)

    @property
    def connected(self) -> set[str]:
        return {client for client, streams in self._streams.items() if streams}

    async def start(self, socket: Path, group: int) -> None:
        """Listen on a Unix socket that root and the proxies' group may use."""
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
        self._server = grpc.aio.server(options=options)
        raw = {"request_deserializer": None, "response_serializer": bytes}
        ads = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._sotw,
                request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
                response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
            ),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._delta,
                request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
                response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
            ),
        }
        als = {"StreamAccessLogs": grpc.stream_unary_rpc_method_handler(self._logs, **raw)}
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(ADS, ads),
                grpc.method_handlers_generic_handler(_ALS, als),
                grpc.method_handlers_generic_handler(
                    _FLOWS, {"Send": grpc.unary_unary_rpc_method_handler(self._kernel)}
                ),
            )
        )
        socket.unlink(missing_ok=True)
        self._server.add_insecure_port(f"unix:{socket}")
        await self._server.start()
        os.chown(socket, 0, group)
        socket.chmod(0o660)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0.2)

    # ADS

    async def _sotw(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._converse(requests, context, _sotw_request, _sotw_response, delta=False):
            yield response

    async def _delta(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._converse(requests, context, _delta_request, _delta_response, delta=True):
            yield response

    async def _admit(self, context: Any, node_id: str) -> str:
        metadata = dict(context.invocation_metadata() or ())
        try:
            return self._desk.admit(str(metadata.get("authorization", "")).removeprefix("Bearer "), node_id)
        except MeshlabError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            raise

    async def _converse(
        self,
        requests: Any,
        context: Any,
        read: Callable[[Any], Request],
        write: Callable[[Response], Any],
        *,
        delta: bool,
    ) -> AsyncIterator[Any]:
        first = await anext(aiter(requests), None)
        if first is None:
            return
        client = await self._admit(context, first.node.id)
        stream = _Stream(delta)
        if client in self._snapshots:
            stream.conversation.offer(self._snapshots[client])
        self._streams.setdefault(client, set()).add(stream)
        self._desk.opened(client, fresh=_holds_nothing(first))
        reader = asyncio.ensure_future(self._read(client, stream, requests, first, read))
        try:
            while not reader.done():
                for response in stream.conversation.responses():
                    self._desk.pushed(client, response)
                    yield write(response)
                await stream.wake.wait()
                stream.wake.clear()
        finally:
            reader.cancel()
            self._streams[client].discard(stream)
            if not self._streams[client]:
                self._desk.closed(client)

    async def _read(
        self, client: str, stream: _Stream, requests: Any, first: Any, read: Callable[[Any], Request]
    ) -> None:
        try:
            self._receive(client, stream, read(first))
            async for request in requests:
                self._receive(client, stream, read(request))
        finally:
            stream.wake.set()

    def _receive(self, client: str, stream: _Stream, request: Request) -> None:
        answer = stream.conversation.receive(request)
        if answer is not None:
            self._desk.answered(client, answer, settled=stream.conversation.settled)
        stream.wake.set()

    # access logs

    async def _logs(self, batches: Any, context: Any) -> bytes:
        """Batches are kept as they came; only their rows are counted here."""
        client = await self._admit(context, "")
        async for payload in batches:
            batch = als_pb2.StreamAccessLogsMessage.FromString(payload)
            rows = len(batch.http_logs.log_entry) + len(batch.tcp_logs.log_entry)
            self._desk.logged(client, payload, rows)
        return b""

    async def _kernel(self, batch: bytes, context: Any) -> bytes:
        """Answered when it is kept: a batch that is not answered is sent again, and each event is kept once."""
        client = await self._admit(context, "")
        rows, ring, start, end = BATCH_HEAD.unpack_from(batch)
        have = self._rings.get((client, ring), 0)
        if start < have:
            return BATCH_ANSWER.pack(have)
        self._desk.logged(client, batch[BATCH_HEAD.size :], rows)
        self._rings[client, ring] = end
        return BATCH_ANSWER.pack(end)


def _holds_nothing(first: Any) -> bool:
    """Of either variant: a client that comes back tells in its first request what it has."""
    return not getattr(first, "initial_resource_versions", None) and not getattr(first, "version_info", "")


def _any(resource: Resource) -> AnyMessage:
    return AnyMessage.FromString(resource.body)


def _sotw_request(message: Any) -> Request:
    return Request(
        message.type_url, message.response_nonce, message.error_detail.message, tuple(message.resource_names)
    )


def _sotw_response(response: Response) -> Any:
    return discovery_pb2.DiscoveryResponse(
        version_info=response.version,
        type_url=response.type_url,
        nonce=response.nonce,
        resources=[_any(resource) for resource in response.resources],
    )


def _delta_request(message: Any) -> Request:
    return Request(
        message.type_url,
        message.response_nonce,
        message.error_detail.message,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
    )


def _delta_response(response: Response) -> Any:
    return discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=response.version,
        type_url=response.type_url,
        nonce=response.nonce,
        resources=[
            discovery_pb2.Resource(name=resource.name, version=resource.version, resource=_any(resource))
            for resource in response.resources
        ],
        removed_resources=list(response.removed),
    )
