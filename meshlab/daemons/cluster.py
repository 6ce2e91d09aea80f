"""`python -m meshlab.daemons.cluster LAB`: the embedded cluster of one lab, and the keeper of its control plane."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from meshlab.dataplanes.sidecar import SidecarPlane
from meshlab.dataplanes.sidecarless import SidecarlessPlane
from meshlab.identity.tokens import TokenKey
from meshlab.kit import processes
from meshlab.kit.layout import Layout
from meshlab.kit.ledger import Ledger
from meshlab.kit.processes import Proc
from meshlab.model.settings import Settings
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint
from meshlab.runtimes.base import Companion, PodPlan
from meshlab.runtimes.local import lifecycle, server
from meshlab.runtimes.local.cluster import Cluster
from meshlab.runtimes.local.kubelet import Kubelet
from meshlab.runtimes.local.network import Network
from meshlab.runtimes.local.store import Store


class Hooks:
    """Which plane a pod gets, by its mode."""

    def __init__(self, sidecar: SidecarPlane, sidecarless: SidecarlessPlane) -> None:
        self._sidecar, self._sidecarless = sidecar, sidecarless

    def plan(self, endpoint: Endpoint) -> PodPlan:
        if endpoint.mode is Mode.SIDECAR:
            return self._sidecar.plan(endpoint)
        return self._sidecarless.plan(endpoint) if endpoint.mode is Mode.SIDECARLESS else PodPlan()

    def node(self, name: str, mode: Mode) -> tuple[Companion, ...]:
        return self._sidecarless.node(name) if mode is Mode.SIDECARLESS else ()


async def keep_control_plane(layout: Layout) -> None:
    """Start the control plane, or find it running, and start it again when it ends."""

    def start() -> Proc:
        print("starting the control plane", flush=True)
        return lifecycle.start_daemon(layout, "meshlab.daemons.controlplane", "control-plane")

    await processes.keep(layout.root / "control-plane.pid", start)


def load_settings(layout: Layout) -> Settings:
    stored = json.loads(layout.settings.read_text())
    return Settings(**{**stored, "mode": Mode(stored["mode"])})


async def main(name: str) -> None:
    layout = Layout.of(name)
    settings = load_settings(layout)
    layout.identity.mkdir(exist_ok=True, mode=0o700)
    keeper = asyncio.create_task(keep_control_plane(layout))
    tokens = TokenKey.load_or_create(layout.identity / "token.key")
    hooks = Hooks(
        SidecarPlane(layout.ads_socket, tokens.mint_for),
        SidecarlessPlane(layout, tokens.mint_for_node, tokens.mint_for_agent),
    )
    ledger = Ledger(layout.ledger)
    network = Network(name, ledger, settings.nodes)
    cluster = Cluster(
        settings,
        Store(layout.store),
        network,
        lambda on_change: Kubelet(layout, network, ledger, hooks, on_change),
    )
    await cluster.start()
    await server.serve(layout, cluster)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    work = asyncio.create_task(cluster.run())
    waiting = asyncio.create_task(ended.wait())
    done, _ = await asyncio.wait({work, keeper, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in done - {waiting}:
        task.result()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
