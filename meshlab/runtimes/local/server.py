"""The cluster daemon's API: HTTP over a Unix socket, JSON; errors keep their class and way out."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from aiohttp import web

from meshlab import errors
from meshlab.errors import InvalidDocuments, MeshlabError
from meshlab.kit.layout import Layout
from meshlab.model.ids import Ref
from meshlab.model.world import PodId
from meshlab.runtimes.local import wire
from meshlab.runtimes.local.cluster import Cluster

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except MeshlabError as error:
        body = {"class": type(error).__name__, "message": error.message, "hint": error.hint}
        return web.json_response(body, status=422)


def raise_from(body: dict[str, str]) -> None:
    """Raise on the client's side what the server refused with."""
    kind = getattr(errors, body["class"], MeshlabError)
    if kind is InvalidDocuments:
        kind = MeshlabError
    raise kind(body["message"], hint=body["hint"])


class Api:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_errors], client_max_size=16_000_000)
        app.add_routes(
            [
                web.get("/healthz", self.healthz),
                web.post("/apply", self.apply),
                web.post("/delete", self.delete),
                web.get("/observed", self.observed),
                web.get("/pods", self.pods),
                web.post("/exec", self.exec),
                web.get("/logs", self.logs),
                web.get("/resources", self.resources),
            ]
        )
        return app

    async def healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def apply(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(change) for change in self._cluster.apply(await request.json())])

    async def delete(self, request: web.Request) -> web.Response:
        refs = [Ref(**row) for row in await request.json()]
        return web.json_response([asdict(change) for change in self._cluster.delete(refs)])

    async def observed(self, request: web.Request) -> web.Response:
        """`?after=N` waits (at most 20 s) for a newer revision."""
        after = int(request.query.get("after", "-1"))
        try:
            observed = await asyncio.wait_for(self._cluster.newer(after), 20.0)
        except TimeoutError:
            observed = self._cluster.observed()
        return web.json_response(wire.observed_to(observed))

    async def pods(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(status) for status in self._cluster.kubelet.statuses()])

    async def exec(self, request: web.Request) -> web.Response:
        body = await request.json()
        stdin = base64.b64decode(body["stdin"])
        done = await self._cluster.kubelet.exec(
            PodId(**body["pod"]), body["command"], stdin=stdin, timeout_s=body["timeout_s"]
        )
        texts = {name: base64.b64encode(getattr(done, name)).decode() for name in ("stdout", "stderr")}
        return web.json_response({"exit_code": done.exit_code, **texts})

    async def logs(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        path = self._cluster.kubelet.log_path(PodId(query["namespace"], query["pod"]), query.get("container", ""))
        with _open(path) as file:  # before the answer begins: an error needs a status of its own
            response = web.StreamResponse()
            await response.prepare(request)
            async for chunk in _follow(file, query.get("follow") == "1"):
                await response.write(chunk)
        return response

    async def resources(self, _: web.Request) -> web.Response:
        samples = await asyncio.to_thread(self._cluster.kubelet.resources)
        return web.json_response([asdict(sample) for sample in samples])


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        known = sorted(log.stem for log in path.parent.glob("*.log"))
        hint = f"logs of this pod: {', '.join(known)}" if known else "the pod has not started yet: meshlab get pods"
        raise errors.NotFound(f"no log of container {path.stem!r}", hint=hint) from None


async def _follow(file: BinaryIO, follow: bool) -> AsyncIterator[bytes]:
    while True:
        chunk = file.read(65536)
        if chunk:
            yield chunk
        elif follow:
            await asyncio.sleep(0.1)
        else:
            return


async def serve(layout: Layout, cluster: Cluster) -> web.AppRunner:
    """Listen on the lab's cluster socket, for root only."""
    # A caller that has gone (Ctrl-C) ends what it had running in a pod.
    runner = web.AppRunner(Api(cluster).app(), access_log=None, handler_cancellation=True)
    await runner.setup()
    layout.cluster_socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(layout.cluster_socket)).start()
    layout.cluster_socket.chmod(0o600)
    return runner
