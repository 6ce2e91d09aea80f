"""The other end of ADS, for one type: a delta stream that is held open, and a door for batches of flows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue

from meshlab.xds.server import ADS, BATCH_ANSWER, BATCH_HEAD, KERNEL_FLOWS

_AGAIN_S = 0.1
_NACK = 3  # INVALID_ARGUMENT


@dataclass(frozen=True)
class _Held:
    version: str
    text: str


class AdsClient:
    """Everything of one type, as text by name (the resources are google.protobuf.StringValue)."""

    def __init__(self, socket: str, token: str, node_id: str, type_url: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{socket}", options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_retries", 0)]
        )
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._node_id, self._type_url = node_id, type_url
        self._held: dict[str, _Held] = {}

    async def follow(self, take: Callable[[Mapping[str, str]], None]) -> None:
        """Give every new set to `take`; what it raises is a NACK, and the set before stays. For ever: a stream that
        ends is opened again, and tells what is held."""
        call = self._channel.stream_stream(
            f"/{ADS}/DeltaAggregatedResources",
            request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
        )
        while True:
            answers: asyncio.Queue[Any] = asyncio.Queue()
            answers.put_nowait(self._first())
            try:
                async for response in call(_each(answers), metadata=self._metadata):
                    answers.put_nowait(self._answer(response, take))
            except grpc.aio.AioRpcError:
                pass
            await asyncio.sleep(_AGAIN_S)

    def _first(self) -> Any:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=self._type_url, resource_names_subscribe=["*"])
        request.node.id = self._node_id
        request.initial_resource_versions.update({name: held.version for name, held in self._held.items()})
        return request

    def _answer(self, response: Any, take: Callable[[Mapping[str, str]], None]) -> Any:
        wanted = {name: held for name, held in self._held.items() if name not in response.removed_resources}
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=self._type_url, response_nonce=response.nonce)
        try:
            wanted |= {one.name: _Held(one.version, _text(one.resource)) for one in response.resources}
            take({name: held.text for name, held in wanted.items()})
            self._held = wanted
        except Exception as error:
            request.error_detail.code = _NACK
            request.error_detail.message = f"{type(error).__name__}: {error}"
        return request

    async def send_flows(self, rows: int, ring: int, start: int, end: int, payload: bytes) -> int | None:
        """Hand a batch over; the position up to which all is taken (see `BATCH_ANSWER`), None if nobody answers."""
        message = BATCH_HEAD.pack(rows, ring, start, end) + payload
        try:
            answer = await self._channel.unary_unary(KERNEL_FLOWS)(message, metadata=self._metadata, timeout=10)
        except grpc.aio.AioRpcError:
            return None
        return int(BATCH_ANSWER.unpack(answer)[0])

    async def close(self) -> None:
        await self._channel.close()


async def _each(queue: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while True:
        yield await queue.get()


def _text(resource: AnyMessage) -> str:
    found = StringValue.FromString(resource.value)
    return str(found.value)
