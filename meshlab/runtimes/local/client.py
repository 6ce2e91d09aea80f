"""`LocalRuntime`: the `Runtime` over the cluster daemon's socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

import aiohttp

from meshlab.errors import MeshlabError, Unavailable
from meshlab.kit.layout import Layout
from meshlab.model.ids import Ref
from meshlab.model.world import PodId
from meshlab.runtimes.base import Change, ExecResult, Manifest, Observed, PodStatus, ResourceSample
from meshlab.runtimes.local import lifecycle, wire
from meshlab.runtimes.local.server import raise_from


class LocalRuntime:
    """The embedded runtime. Unavailable when its daemon does not answer."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    async def apply(self, manifests: Sequence[Manifest]) -> list[Change]:
        return [wire.change_from(row) for row in await self._call("POST", "/apply", json=list(manifests))]

    async def delete(self, refs: Sequence[Ref]) -> list[Change]:
        body = [asdict(ref) for ref in refs]
        return [wire.change_from(row) for row in await self._call("POST", "/delete", json=body)]

    async def watch(self) -> AsyncIterator[Observed]:
        revision = -1
        while True:
            try:
                data = await self._call("GET", "/observed", params={"after": revision})
            except Unavailable:
                if revision < 0:
                    raise
                await asyncio.sleep(0.2)
                continue
            if data["revision"] != revision:
                revision = data["revision"]
                yield wire.observed_from(data)

    async def pods(self) -> list[PodStatus]:
        return [wire.status_from(row) for row in await self._call("GET", "/pods")]

    async def exec(
        self, pod: PodId, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None
    ) -> ExecResult:
        body = {
            "pod": asdict(pod),
            "command": list(command),
            "stdin": base64.b64encode(stdin).decode(),
            "timeout_s": timeout_s,
        }
        done = await self._call("POST", "/exec", json=body)
        return ExecResult(done["exit_code"], base64.b64decode(done["stdout"]), base64.b64decode(done["stderr"]))

    async def logs(self, pod: PodId, *, container: str = "", follow: bool = False) -> AsyncIterator[bytes]:
        query = {"namespace": pod.namespace, "pod": pod.name, "container": container, "follow": str(int(follow))}
        try:
            async with self._session() as session, session.get("http://cluster/logs", params=query) as answer:
                if answer.status != 200:
                    await self._refused(answer)
                async for line in answer.content:
                    yield line
        except (aiohttp.ClientError, OSError) as error:
            raise self._silent(error) from error

    async def resources(self) -> list[ResourceSample]:
        return [wire.sample_from(row) for row in await self._call("GET", "/resources")]

    async def down(self) -> None:
        await lifecycle.remove_lab(self._layout)

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.UnixConnector(str(self._layout.cluster_socket))
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            async with (
                self._session() as session,
                session.request(method, f"http://cluster{path}", **options) as answer,
            ):
                if answer.status != 200:
                    await self._refused(answer)
                return await answer.json()
        except (aiohttp.ClientError, OSError) as error:
            raise self._silent(error) from error

    async def _refused(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status == 422:
            raise_from(await answer.json())
        words = (await answer.text()).strip()[:200]
        raise MeshlabError(
            f"lab {self._layout.name!r} answered {answer.status}: {words}", hint="see `meshlab logs cluster`"
        )

    def _silent(self, error: Exception) -> Unavailable:
        name = self._layout.name
        if not self._layout.root.exists():
            return Unavailable(f"lab {name!r} is not up, or was taken down meanwhile", hint=f"meshlab up --name {name}")
        return Unavailable(
            f"lab {name!r} does not answer: {error}", hint=f"meshlab up --name {name} (it takes over what runs)"
        )
