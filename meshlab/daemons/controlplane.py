"""`python -m meshlab.daemons.controlplane LAB`: registry, compilers, ADS, CA and flow collector of one lab.

It keeps nothing but the CA and the flows on disk: killed and started again, it rebuilds the same world.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from meshlab.control.api import Api
from meshlab.control.desk import Desk
from meshlab.control.push import Push
from meshlab.errors import Unavailable
from meshlab.identity.authority import Authority
from meshlab.identity.tokens import TokenKey
from meshlab.kit.layout import Layout
from meshlab.kit.processes import stand_back
from meshlab.model.settings import Settings
from meshlab.model.wire import PROXY_UID
from meshlab.model.workloads import Mode
from meshlab.runtimes.local import LocalRuntime
from meshlab.telemetry.store import FlowStore
from meshlab.xds.server import AdsServer


async def _follow(push: Push, runtime: LocalRuntime) -> None:
    while True:
        try:
            await push.follow(runtime)
        except Unavailable:
            await asyncio.sleep(0.05)


async def main(name: str) -> None:
    stand_back()
    layout = Layout.of(name)
    stored = json.loads(layout.settings.read_text())
    settings = Settings(**{**stored, "mode": Mode(stored["mode"])})
    layout.identity.mkdir(exist_ok=True, mode=0o700)
    authority = Authority.load_or_create(layout.identity, settings.trust_domain)
    flows = FlowStore(layout.flows)
    desk = Desk(TokenKey.load_or_create(layout.identity / "token.key"), flows)
    server = AdsServer(desk)
    push = Push(settings, authority, desk, server)
    follower = asyncio.create_task(_follow(push, LocalRuntime(layout)))
    pusher = asyncio.create_task(push.run())
    while not push.version:  # nobody is admitted before the pods are known
        if pusher.done():
            pusher.result()
        await asyncio.sleep(0.02)
    await server.start(layout.ads_socket, PROXY_UID)
    api = await Api(push, desk, flows, authority).serve(layout.control_socket)
    print(f"control plane of {name} serves version {push.version}", flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    waiting = asyncio.create_task(ended.wait())
    done, _ = await asyncio.wait({follower, pusher, waiting}, return_when=asyncio.FIRST_COMPLETED)
    await server.stop()
    await api.cleanup()
    for task in done - {waiting}:
        task.result()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
