"""The cluster daemon's API: HTTP over a Unix socket, JSON; errors keep their class and way out."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from aiohttp import web

from meshlab import errors
from meshlab.errors import InvalidDocuments, MeshlabError, NotFound
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
    except (ValueError, KeyError, TypeError) as error:
        what = f"{request.method} {request.path} was not understood: {type(error).__name__}: {error}"
        return web.json_response({"class": "MeshlabError", "message": what, "hint": ""}, status=422)


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
        manifests = await request.json()
        return web.json_response([asdict(change) for change in self._cluster.apply(manifests)])

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
        """The log so far; with `follow=1` it goes on until the client leaves or the pod is gone."""
        query = request.query
        pod, container = PodId(query["namespace"], query["pod"]), query.get("container", "")
        path = self._cluster.kubelet.log_path(pod, container)
        known = sorted(one.stem for one in path.parent.glob("*.log"))
        if path.stem not in known:
            raise NotFound(f"no log of {container or path.stem!r} in {pod}", hint=f"logs here: {', '.join(known)}")

        def goes_on() -> bool:
            alive = any(spec.pod == pod for spec in self._cluster.kubelet.specs())
            return query.get("follow") == "1" and alive and request.transport is not None

        response = web.StreamResponse()
        await response.prepare(request)
        with path.open("rb") as file:
            while True:
                last = not goes_on()  # asked before reading: what was written meanwhile is still read
                while chunk := file.read(65536):
                    await response.write(chunk)
                if last:
                    return response
                await asyncio.sleep(0.1)

    async def resources(self, _: web.Request) -> web.Response:
        samples = await asyncio.to_thread(self._cluster.kubelet.resources)
        return web.json_response([asdict(sample) for sample in samples])


async def serve(layout: Layout, cluster: Cluster) -> web.AppRunner:
    """Listen on the lab's cluster socket, for root only."""
    runner = web.AppRunner(Api(cluster).app(), access_log=None)
    await runner.setup()
    layout.cluster_socket.unlink(missing_ok=True)
    await web.UnixSite(runner, str(layout.cluster_socket)).start()
    layout.cluster_socket.chmod(0o600)
    return runner
