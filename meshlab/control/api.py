"""What the lab may ask of the control plane: HTTP over a Unix socket, JSON unless said."""

from __future__ import annotations

import os
import time
from pathlib import Path

from aiohttp import web

from meshlab.control.desk import Desk
from meshlab.control.push import Push
from meshlab.identity.authority import Authority
from meshlab.telemetry.store import FlowStore


class Api:
    def __init__(self, push: Push, desk: Desk, flows: FlowStore, authority: Authority) -> None:
        self._push, self._desk, self._flows, self._authority = push, desk, flows, authority
        self._started = time.time()

    async def serve(self, socket: Path) -> web.AppRunner:
        """Listen for root only."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/status", self.status),
                web.get("/proxies", self.proxies),
                web.get("/config-events", self.events),
                web.get("/identities", self.identities),
                web.get("/peers", self.peers),
                web.get("/flows", self.flows),
                web.get("/trust-bundle", self.bundle),
                web.get("/counters", self.counters),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        socket.unlink(missing_ok=True)
        await web.UnixSite(runner, str(socket)).start()
        socket.chmod(0o600)
        return runner

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "version": self._push.version,
                "revision": self._push.revision,
                "problems": list(self._push.problems),
                "pid": os.getpid(),
                "started": self._started,
            }
        )

    async def proxies(self, _: web.Request) -> web.Response:
        return web.json_response(self._desk.proxy_rows())

    async def events(self, request: web.Request) -> web.Response:
        after = int(request.query.get("after", "0"))
        return web.json_response([event for event in self._desk.events if event["n"] > after])

    async def identities(self, _: web.Request) -> web.Response:
        return web.json_response(self._push.identity_rows())

    async def peers(self, _: web.Request) -> web.Response:
        return web.json_response(list(self._desk.peers.values()))

    async def flows(self, _: web.Request) -> web.Response:
        """Bytes, as `telemetry.store.records` reads them."""
        return web.Response(body=self._flows.read(), content_type="application/octet-stream")

    async def bundle(self, _: web.Request) -> web.Response:
        return web.Response(text=self._authority.bundle_pem, content_type="application/x-pem-file")

    async def counters(self, _: web.Request) -> web.Response:
        return web.json_response(self._flows.counters())
