"""A real Envoy on loopback, configured by a real AdsServer; both backends answer with their name."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2

# Registered by import, so that JSON with their type can be read.
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as _hcm  # noqa: F401
from google.protobuf import json_format

from meshlab.compile.xds.pack import resource
from meshlab.dataplanes.envoy.binary import envoy_binary
from meshlab.dataplanes.envoy.bootstrap import bootstrap
from meshlab.errors import MeshlabError
from meshlab.model.snapshot import Resource, Snapshot
from meshlab.xds.conversation import CLUSTER, ENDPOINTS, LISTENER, ROUTE, Answer, Response
from meshlab.xds.server import AdsServer

CLIENT = "shop/web-1"
_TYPE = "type.googleapis.com/envoy.extensions.filters"
_ADS = {"ads": {}, "resource_api_version": "V3"}
_WAIT_S = 30.0


class RecordingDesk:
    """Admits one token; `until` waits for something to become true of what it has seen."""

    def __init__(self) -> None:
        self.pushes: list[Response] = []
        self.answers: list[Answer] = []
        self.open = 0
        self.fresh: list[bool] = []
        self.settled = False
        self._news = asyncio.Condition()

    def admit(self, token: str, node_id: str) -> str:
        if token != "right" or "web-1.shop" not in node_id:
            raise MeshlabError("who is this?")
        return CLIENT

    def opened(self, client: str, *, fresh: bool) -> None:
        assert client == CLIENT
        self.open += 1
        self.fresh.append(fresh)

    def closed(self, client: str) -> None:
        assert client == CLIENT
        self.open -= 1

    def pushed(self, client: str, response: Response) -> None:
        assert client == CLIENT
        self.pushes.append(response)
        self.settled = False

    def answered(self, client: str, answer: Answer, *, settled: bool) -> None:
        assert client == CLIENT
        self.answers.append(answer)
        self.settled = settled
        self._wake()

    def logged(self, client: str, payload: bytes, rows: int) -> None:
        raise AssertionError(f"no access log was asked of {client}: {rows} rows, {payload!r}")

    @property
    def nacks(self) -> list[Answer]:
        return [one for one in self.answers if one.error]

    def _wake(self) -> None:
        async def wake() -> None:
            async with self._news:
                self._news.notify_all()

        self._task = asyncio.ensure_future(wake())

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(_WAIT_S), self._news:
            await self._news.wait_for(true)


def _of(message: Any, name: str, content: dict[str, Any]) -> Resource:
    return resource(name, json_format.ParseDict(content, message))


class Mesh:
    """Snapshots of one listener whose route leads to one backend; Envoy and the server that configures it."""

    def __init__(self, folder: Path, ports: dict[str, int], *, delta: bool) -> None:
        self.desk = RecordingDesk()
        self.server = AdsServer(self.desk)
        self.socket = folder / "ads.sock"
        self._folder, self._ports, self._delta = folder, ports, delta
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._version = 0
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5))

    def cluster(self, name: str, **more: Any) -> Resource:
        eds = {"eds_config": _ADS, "service_name": f"of-{name}"}
        content = {"name": name, "type": "EDS", "eds_cluster_config": eds, "connect_timeout": "1s", **more}
        return _of(cluster_pb2.Cluster(), name, content)

    def endpoints(self, name: str) -> Resource:
        where = {"socket_address": {"address": "127.0.0.1", "port_value": self._ports[name]}}
        content = {"cluster_name": f"of-{name}", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": where}}]}]}
        return _of(endpoint_pb2.ClusterLoadAssignment(), f"of-{name}", content)

    def route(self, to: str, **match: Any) -> Resource:
        route = {"match": match or {"prefix": "/"}, "route": {"cluster": to}}
        hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
        return _of(route_pb2.RouteConfiguration(), "routes", {"name": "routes", "virtual_hosts": hosts})

    def listener(self, **more: Any) -> Resource:
        manager = {
            "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in",
            "rds": {"route_config_name": "routes", "config_source": _ADS},
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}}],
        }
        where = {"socket_address": {"address": "127.0.0.1", "port_value": self.port}}
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        content = {"name": "in", "address": where, "filter_chains": [chain], **more}
        return _of(listener_pb2.Listener(), "in", content)

    def leading_to(self, name: str) -> dict[str, list[Resource]]:
        return {
            CLUSTER: [self.cluster(name)],
            ENDPOINTS: [self.endpoints(name)],
            LISTENER: [self.listener()],
            ROUTE: [self.route(name)],
        }

    def offer(self, resources: dict[str, list[Resource]]) -> Snapshot:
        self._version += 1
        found = {url: {one.name: one for one in several} for url, several in resources.items()}
        self.snapshot = Snapshot(f"v{self._version}", found)
        self.server.offer(CLIENT, self.snapshot)
        return self.snapshot

    async def settle(self, resources: dict[str, list[Resource]]) -> None:
        self.offer(resources)
        await self.desk.until(lambda: self.server.settled(CLIENT))

    async def restart_server(self) -> None:
        """The control plane dies and another one comes, which knows the snapshot and nothing of the client."""
        await self.server.stop()
        self.desk = RecordingDesk()
        self.server = AdsServer(self.desk)
        self.server.offer(CLIENT, self.snapshot)
        await self.server.start(self.socket, 0)

    async def ask(self) -> str:
        async with self.http.get(f"http://127.0.0.1:{self.port}/") as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()

    def listening(self) -> bool:
        """Has Envoy written where its admin port is?"""
        path = self._folder / "admin"
        return path.exists() and path.read_text() != ""

    async def admin(self, path: str) -> Any:
        address = (self._folder / "admin").read_text()
        async with self.http.get(f"http://{address}{path}") as answer:
            return await answer.json(content_type=None)

    async def clusters(self) -> tuple[set[str], set[str]]:
        """Active and warming."""
        dump = await self.admin("/config_dump?resource=dynamic_active_clusters")
        active = {one["cluster"]["name"] for one in dump.get("configs", [])}
        dump = await self.admin("/config_dump?resource=dynamic_warming_clusters")
        return active, {one["cluster"]["name"] for one in dump.get("configs", [])}

    def config(self, token: str) -> Path:
        made = json.loads(bootstrap("sidecar~10.129.0.2~web-1.shop~shop", "web.shop", str(self.socket), token))
        made["admin"]["address"]["socket_address"]["port_value"] = 0
        if not self._delta:
            made["dynamic_resources"]["ads_config"]["api_type"] = "GRPC"
        path = self._folder / "envoy.json"
        path.write_text(json.dumps(made))
        return path


async def eventually(true: Callable[[], Any]) -> None:
    """For what only Envoy knows and nobody announces."""
    async with asyncio.timeout(_WAIT_S):
        while not await true():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(folder: Path, *, delta: bool, token: str = "right") -> AsyncIterator[Mesh]:
    runners, ports = [], {}
    for name in ("a", "b"):

        async def answer(_: web.Request, name: str = name) -> web.Response:
            return web.Response(text=name)

        app = web.Application()
        app.add_routes([web.get("/", answer)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        ports[name] = runner.addresses[0][1]
    mesh = Mesh(folder, ports, delta=delta)
    await mesh.server.start(mesh.socket, 0)
    argv = [envoy_binary(), "-c", str(mesh.config(token)), "--concurrency", "1", "--disable-hot-restart",
            "--log-level", "warning", "--admin-address-path", str(folder / "admin")]  # fmt: skip
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
    try:
        yield mesh
    except BaseException:
        print((folder / "envoy.log").read_text()[-4000:])
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await mesh.server.stop()
        await mesh.http.close()
        for runner in runners:
            await runner.cleanup()
