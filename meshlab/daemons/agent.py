"""`python -m meshlab.daemons.agent CONFIG`: the agent of one node. It loads and feeds the kernel's programs, and hands
over what they saw. Killed, it is missed by no connection: programs, maps and links are pinned, and the next one takes
them over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from meshlab.dataplanes.sidecarless.agent import Batch, NodeAgent
from meshlab.dataplanes.sidecarless.names import Names
from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plane import READY, AgentConfig, pods_ready
from meshlab.errors import CannotRun, MeshlabError
from meshlab.kit.processes import stand_back
from meshlab.model.kernel import KERNEL_TYPE
from meshlab.model.wire import AGENT_PORT
from meshlab.xds.client import AdsClient

_POLL_S = 0.1
_PAUSE_S = 5.0
"""Before the end of an agent that cannot work here: it is started again at once, and to compile is work."""


class Telemetry:
    """Events on their way to the control plane, a batch at a time. They stay in the kernel's ring until it has them:
    a killed agent's heir finds them there, and what the ring cannot hold meanwhile the kernel counts."""

    def __init__(self, agent: NodeAgent, client: AdsClient) -> None:
        self._agent, self._client = agent, client
        self._batch: Batch | None = None
        self.begun = asyncio.Event()

    def look(self) -> None:
        """See what the kernel has told, unless there is a batch on its way."""
        if self.begun.is_set() and self._batch is None:
            self._batch = self._agent.look()

    async def run(self) -> None:
        await self.begun.wait()
        while True:
            self._agent.attend()
            self.look()
            if self._batch is not None:
                await self._send(self._batch)
            await asyncio.sleep(_POLL_S)

    async def _send(self, batch: Batch) -> None:
        position = await self._client.send_flows(batch.rows, batch.ring, batch.start, batch.end, batch.payload)
        if position is not None:
            self._agent.taken(batch, position)
            self._batch = None


def _counters(agent: NodeAgent, telemetry: Telemetry) -> web.Application:
    """`/stats`, as Envoy's admin answers: a line for each counter, those of events up to date."""

    async def stats(_: web.Request) -> web.Response:
        telemetry.look()
        return web.Response(text="".join(f"{name}: {value}\n" for name, value in agent.counters().items()))

    app = web.Application()
    app.add_routes([web.get("/stats", stats)])
    return app


def _open(config: AgentConfig) -> KernelNode:
    began = time.monotonic()
    kernel = KernelNode.open(config.lab, config.node)
    for group in (config.pods_group, config.proxy_group):
        Path(group).mkdir(parents=True, exist_ok=True)
    kernel.attach(pods=Path(config.pods_group), proxy=Path(config.proxy_group))
    print(f"agent of {config.node}: programs loaded and attached in {time.monotonic() - began:.1f} s", flush=True)
    return kernel


async def main(path: Path) -> None:
    stand_back()
    config = AgentConfig(**json.loads(path.read_text()))
    folder = Path(config.folder)
    kernel = _open(config)
    agent = NodeAgent(kernel, Names(folder / "names.json"), pods_ready(folder))
    client = AdsClient(config.ads_socket, config.token, f"agent~{config.node}", KERNEL_TYPE)
    telemetry = Telemetry(agent, client)

    def take(resources: Mapping[str, str]) -> None:
        try:
            agent.apply(resources)
        except (MeshlabError, OSError, ValueError) as error:
            print(f"refused: {error}", flush=True)
            raise
        telemetry.begun.set()

    runner = web.AppRunner(_counters(agent, telemetry), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", AGENT_PORT).start()
    (folder / READY).touch()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    tasks = [asyncio.ensure_future(work) for work in (client.follow(take), telemetry.run())]
    waiting = asyncio.ensure_future(ended.wait())
    done, _ = await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in done - {waiting}:
        task.result()
    with contextlib.suppress(OSError):
        await runner.cleanup()
    await client.close()
    kernel.close()


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1])))
    except CannotRun as failed:
        print(f"this node cannot have a kernel plane: {failed}", flush=True)
        time.sleep(_PAUSE_S)
        os._exit(3)
