"""A runtime that shows what it is told, a server that keeps what it is offered, a clock that is set by hand."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from meshlab.control.desk import Desk
from meshlab.control.push import Push
from meshlab.identity.authority import Authority
from meshlab.identity.tokens import TokenKey
from meshlab.model import documents
from meshlab.model.settings import Settings
from meshlab.model.snapshot import Snapshot
from meshlab.model.world import Endpoint
from meshlab.runtimes.base import Manifest, Observed
from meshlab.telemetry.store import FlowStore
from tests.compile.worlds import CLUSTER_IPS, ENDPOINTS, SERVICES

TTL_S = 3600.0
DANGLING = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: m, namespace: shop}
spec:
  parentRefs: [{kind: Service, name: api, port: 80}]
  rules:
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: nobody, port: 9}}}]
    backendRefs: [{name: api, port: 80}]
"""


class FakeServer:
    """As the AdsServer; `acks` names the clients that have acknowledged everything."""

    def __init__(self) -> None:
        self.offers: list[tuple[str, Snapshot]] = []
        self.latest: dict[str, Snapshot] = {}
        self.acks: set[str] = set()
        self.then: Callable[[], None] = lambda: None

    def offer(self, client: str, snapshot: Snapshot) -> None:
        self.offers.append((client, snapshot))
        self.latest[client] = snapshot
        self.then()

    def settled(self, client: str) -> bool:
        return client in self.acks

    def forget(self, client: str) -> None:
        del self.latest[client]


class FakeRuntime:
    """Only `watch`, which is all that a push asks of a runtime."""

    def __init__(self) -> None:
        self.states: asyncio.Queue[Observed] = asyncio.Queue()

    async def watch(self) -> AsyncIterator[Observed]:
        while True:
            yield await self.states.get()


class Control:
    """Push and desk with all that they need; `show` waits until a state was pushed."""

    def __init__(
        self,
        folder: Path,
        endpoints: Sequence[Endpoint] = ENDPOINTS,
        serve: Callable[[Desk], Any] = lambda _: FakeServer(),
    ) -> None:
        self.now = 1000.0
        self.endpoints = tuple(endpoints)
        self.runtime = FakeRuntime()
        self.key = TokenKey.load_or_create(folder / "token.key")
        self.flows = FlowStore(folder / "flows")
        self.authority = Authority.load_or_create(folder / "identity", "cluster.local")
        self.desk = Desk(self.key, self.flows)
        self.server = serve(self.desk)
        settings = Settings(svid_ttl_s=TTL_S)
        self.push = Push(settings, self.authority, self.desk, self.server, lambda: self.now)
        self.revision = 0

    async def __aenter__(self) -> Control:
        self._tasks = [
            asyncio.create_task(self.push.follow(self.runtime)),  # type: ignore[arg-type]
            asyncio.create_task(self.push.run()),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def state(self, *texts: str, extra: Sequence[Manifest] = ()) -> Observed:
        loaded = documents.load("\n---\n".join((SERVICES, *texts)))
        assert loaded.problems == ()
        self.revision += 1
        return Observed(self.revision, (*loaded.manifests, *extra), self.endpoints, CLUSTER_IPS)

    async def show(self, *texts: str, extra: Sequence[Manifest] = ()) -> None:
        self.runtime.states.put_nowait(self.state(*texts, extra=extra))
        await self.pushed()

    async def pushed(self) -> None:
        async with asyncio.timeout(20):
            while self.push.revision != self.revision:
                await asyncio.sleep(0.005)

    def serials(self) -> dict[str, str]:
        return {f"{row['namespace']}/{row['pod']}": row["serial"] for row in self.push.identity_rows()}

    def replace(self, pod: str, **changes: object) -> None:
        self.endpoints = tuple(
            dataclasses.replace(one, **changes) if str(one.pod) == pod else one  # type: ignore[arg-type]
            for one in self.endpoints
        )
