"""A minimal delta ADS server for one proxy, so that compiled resources meet the real Envoy."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from meshlab.model.snapshot import Resource

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_LOGS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


class Ads(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Serves `resources`; `nacks` are Envoy's words, `logs` the raw access-log messages, `tokens` what it showed."""

    def __init__(self, socket: Path, resources: Mapping[str, Mapping[str, Resource]]) -> None:
        self.nacks: list[str] = []
        self.logs: list[bytes] = []
        self.tokens: list[str] = []
        self._resources = {url: dict(found) for url, found in resources.items()}
        self._wanted: dict[str, set[str]] = {}
        self._sent: dict[str, dict[str, str]] = {}
        self._push: SimpleQueue[str] = SimpleQueue()
        self._ended = threading.Event()
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(self,))
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()
        socket.chmod(0o666)

    def close(self) -> None:
        self._ended.set()
        self._server.stop(0).wait()

    def update(self, resources: Mapping[str, Mapping[str, Resource]]) -> None:
        for url, found in resources.items():
            self._resources[url] = dict(found)
            self._push.put(url)

    def service(self, details: Any) -> Any:
        if details.method == _METHOD:
            return grpc.stream_stream_rpc_method_handler(
                self._delta,
                request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
                response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
            )
        return grpc.stream_unary_rpc_method_handler(self._log) if details.method == _LOGS else None

    def _log(self, messages: Iterator[bytes], _: Any) -> bytes:
        self.logs.extend(messages)
        return b""

    def _delta(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        self.tokens += [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()
        while not self._ended.is_set() and context.is_active():
            try:
                url = self._push.get(timeout=0.1)
            except Empty:
                continue
            response = self._response(url)
            if response is not None:
                yield response

    def _listen(self, requests: Iterator[Any]) -> None:
        try:
            for request in requests:
                if request.error_detail.message:
                    self.nacks.append(f"{request.type_url}: {request.error_detail.message}")
                wanted = self._wanted.setdefault(request.type_url, set())
                wanted |= set(request.resource_names_subscribe)
                if not request.response_nonce or request.resource_names_subscribe:
                    self._push.put(request.type_url)
        except grpc.RpcError:
            return

    def _response(self, url: str) -> Any:
        wanted, sent = self._wanted.get(url), self._sent.setdefault(url, {})
        if wanted is None:
            return None
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=url, nonce="n")
        have = self._resources.get(url, {})
        for name, one in have.items():
            if (not wanted or name in wanted) and sent.get(name) != one.version:
                body = any_pb2.Any.FromString(one.body)
                response.resources.append(discovery_pb2.Resource(name=name, version=one.version, resource=body))
                sent[name] = one.version
        for name in [name for name in sent if name not in have]:
            response.removed_resources.append(name)
            del sent[name]
        return response
