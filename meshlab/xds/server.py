"""The gRPC shell: ADS (state of the world and delta) and access logs on a Unix socket. The only module with grpc.

Who connects is asked for its bearer token before anything is given; `Plane` decides and is told what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from meshlab.errors import Unauthenticated
from meshlab.model.snapshot import Snapshot
from meshlab.model.world import PodId
from meshlab.xds.access_logs import LogStream
from meshlab.xds.conversation import Ask, Conversation, Event, Output, Response

PROXY_GROUP = 1337
"""Group of the proxies' user: it may connect to the socket."""
PATIENCE_S = 1.0
"""How long listeners wait for a client to ask for endpoints of new clusters."""
_ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_ALS = "envoy.service.accesslog.v3.AccessLogService"
_NODE = re.compile(r"sidecar~[^~]*~(?P<pod>.+)\.(?P<namespace>[^.~]+)~(?P=namespace)")
_OPTIONS = (
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 64 * 1024 * 1024),
)


class Plane(Protocol):
    """What the server needs of the control plane."""

    def admit(self, token: str) -> PodId:
        """The pod that a token belongs to; Unauthenticated says why not."""
        ...

    def opened(self, pod: PodId, line: Line) -> None:
        """A proxy is there: offer it snapshots through `line`."""
        ...

    def closed(self, pod: PodId, line: Line) -> None: ...

    def happened(self, pod: PodId, event: Event) -> None: ...

    def logs(self, pod: PodId, payload: bytes) -> None:
        """One batch of access logs, a serialised StreamAccessLogsMessage."""
        ...


class Line:
    """One open ADS stream."""

    def __init__(self, pod: PodId, plane: Plane, *, delta: bool) -> None:
        self.pod = pod
        self._plane = plane
        self._conversation = Conversation(delta=delta)
        self._outbox: asyncio.Queue[Response | None] = asyncio.Queue()
        self._patience: asyncio.TimerHandle | None = None

    def offer(self, snapshot: Snapshot) -> None:
        self._do(self._conversation.offer(snapshot))

    def receive(self, ask: Ask) -> None:
        self._do(self._conversation.receive(ask))

    def hang_up(self) -> None:
        self._outbox.put_nowait(None)
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    async def responses(self) -> AsyncIterator[Response]:
        while (response := await self._outbox.get()) is not None:
            yield response

    def _do(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if isinstance(output, Event):
                self._plane.happened(self.pod, output)
            else:
                self._outbox.put_nowait(output)
        if self._conversation.waiting and self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._release)

    def _release(self) -> None:
        self._patience = None
        self._do(self._conversation.release())


class Server:
    """Serves until `stop`. CannotRun is not raised here: OSError where the socket cannot be made."""

    def __init__(self, socket: Path, plane: Plane, *, group: int = PROXY_GROUP) -> None:
        self._socket, self._plane, self._group = socket, plane, group
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((self._discovery(), self._access_logs()))
        before = os.umask(0o117)
        try:
            server.add_insecure_port(f"unix:{self._socket}")
            await server.start()
        finally:
            os.umask(before)
        if os.geteuid() == 0:
            os.chown(self._socket, -1, self._group)
        self._socket.chmod(0o660)
        self._server = server

    async def stop(self, grace_s: float = 0.1) -> None:
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None

    def _discovery(self) -> Any:
        def method(delta: bool, request: Any) -> Any:
            async def handle(requests: AsyncIterator[Any], context: Any) -> None:
                await self._serve(requests, context, delta=delta)

            return grpc.stream_stream_rpc_method_handler(
                handle, request_deserializer=request.FromString, response_serializer=_serialised
            )

        methods = {
            "StreamAggregatedResources": method(False, discovery_pb2.DiscoveryRequest),
            "DeltaAggregatedResources": method(True, discovery_pb2.DeltaDiscoveryRequest),
        }
        return grpc.method_handlers_generic_handler(_ADS, methods)

    def _access_logs(self) -> Any:
        # no deserializer: messages stay bytes
        methods = {"StreamAccessLogs": grpc.stream_unary_rpc_method_handler(self._collect)}
        return grpc.method_handlers_generic_handler(_ALS, methods)

    async def _admit(self, context: Any) -> PodId:
        metadata = dict(context.invocation_metadata() or ())
        scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise Unauthenticated("no bearer token")
            return self._plane.admit(token)
        except Unauthenticated as refusal:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, refusal.message)
            raise

    async def _serve(self, requests: AsyncIterator[Any], context: Any, *, delta: bool) -> None:
        pod = await self._admit(context)
        try:
            first = await anext(requests)
        except StopAsyncIteration:
            return
        named = _NODE.fullmatch(first.node.id)
        if named is None or PodId(named["namespace"], named["pod"]) != pod:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"the token belongs to {pod}, not to this node id")
        line = Line(pod, self._plane, delta=delta)
        read: Callable[[Any], Ask] = _delta_ask if delta else _ask
        message = _delta_response if delta else _response
        self._plane.opened(pod, line)
        reader = asyncio.create_task(_read(line, read, first, requests))
        try:
            async for response in line.responses():
                await context.write(message(response))
            await reader
        finally:
            reader.cancel()
            line.hang_up()
            self._plane.closed(pod, line)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(reader, return_exceptions=True)

    async def _collect(self, batches: AsyncIterator[bytes], context: Any) -> bytes:
        pod = await self._admit(context)
        stream = LogStream()
        async for raw in batches:
            try:
                self._plane.logs(pod, stream.batch(raw))
            except ValueError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not access logs: {error}")
        return b""


async def _read(line: Line, read: Callable[[Any], Ask], first: Any, requests: AsyncIterator[Any]) -> None:
    try:
        line.receive(read(first))
        async for request in requests:
            line.receive(read(request))
    finally:
        line.hang_up()


def _serialised(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data


def _ask(request: Any) -> Ask:
    return Ask(
        request.type_url,
        frozenset(request.resource_names),
        nonce=request.response_nonce,
        error=_words(request) if request.HasField("error_detail") else "",
    )


def _delta_ask(request: Any) -> Ask:
    return Ask(
        request.type_url,
        frozenset(request.resource_names_subscribe),
        frozenset(request.resource_names_unsubscribe),
        dict(request.initial_resource_versions),
        request.response_nonce,
        _words(request) if request.HasField("error_detail") else "",
    )


def _words(request: Any) -> str:
    return str(request.error_detail.message) or f"refused with code {request.error_detail.code} and no words"


def _response(response: Response) -> Any:
    return discovery_pb2.DiscoveryResponse(
        version_info=response.version,
        type_url=response.type_url,
        nonce=response.nonce,
        resources=[any_pb2.Any.FromString(resource.body) for resource in response.resources],
    )


def _delta_response(response: Response) -> Any:
    resources = [
        discovery_pb2.Resource(name=one.name, version=one.version, resource=any_pb2.Any.FromString(one.body))
        for one in response.resources
    ]
    return discovery_pb2.DeltaDiscoveryResponse(
        system_version_info=response.version,
        type_url=response.type_url,
        nonce=response.nonce,
        resources=resources,
        removed_resources=response.removed,
    )
