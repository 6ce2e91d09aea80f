"""`python -m meshlab.daemons.cluster LAB`: the embedded cluster of one lab, and the keeper of its control plane."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

from meshlab.dataplanes.sidecar import SidecarPlane
from meshlab.errors import CannotRun, MeshlabError
from meshlab.identity.tokens import TokenKey
from meshlab.kit.layout import Layout
from meshlab.kit.ledger import Ledger
from meshlab.kit.processes import Proc
from meshlab.model.settings import Settings
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint
from meshlab.runtimes.base import PodPlan
from meshlab.runtimes.local import lifecycle, server
from meshlab.runtimes.local.cluster import Cluster
from meshlab.runtimes.local.kubelet import Kubelet
from meshlab.runtimes.local.network import Network
from meshlab.runtimes.local.store import Store

_NOTE = "control-plane.pid"
_PAUSE_FIRST_S, _PAUSE_MAX_S, _LONG_S = 0.25, 5.0, 5.0


class Hooks:
    """Which plane a pod gets, by its mode."""

    def __init__(self, sidecar: SidecarPlane) -> None:
        self._sidecar = sidecar

    def plan(self, endpoint: Endpoint) -> PodPlan:
        if endpoint.mode is Mode.SIDECAR:
            return self._sidecar.plan(endpoint)
        if endpoint.mode is Mode.NONE:
            return PodPlan()
        raise CannotRun("the sidecarless plane is not built yet", hint="use meshlab.io/mode: sidecar or none")


async def keep_control_plane(layout: Layout) -> None:
    """Start the control plane, or find it running, and start it again when it ends: at once if it had lived a while,
    else after a pause that grows."""
    pause = _PAUSE_FIRST_S
    while True:
        began = time.monotonic()
        known = _remembered(layout)
        if known is None or not known.alive():
            known = lifecycle.start_daemon(layout, "meshlab.daemons.controlplane", "control-plane")
            _remember(layout, known)
        await known.exited()
        lived_long = time.monotonic() - began > _LONG_S
        pause = _PAUSE_FIRST_S if lived_long else min(pause * 2, _PAUSE_MAX_S)
        print(f"control plane (pid {known.pid}) ended; starting it again", flush=True)
        await asyncio.sleep(0.0 if lived_long else pause)


def _remembered(layout: Layout) -> Proc | None:
    """The control plane that a former daemon started; None if it left no readable note."""
    try:
        pid, started = (layout.root / _NOTE).read_text().split()
        return Proc(int(pid), float(started))
    except (FileNotFoundError, ValueError):
        return None


def _remember(layout: Layout, proc: Proc) -> None:
    temporary = layout.root / f"{_NOTE}.tmp"
    temporary.write_text(f"{proc.pid} {proc.started!r}")
    temporary.rename(layout.root / _NOTE)


def load_settings(layout: Layout) -> Settings:
    stored = json.loads(layout.settings.read_text())
    return Settings(**{**stored, "mode": Mode(stored["mode"])})


async def main(name: str) -> None:
    layout = Layout.of(name)
    settings = load_settings(layout)
    lock = lifecycle.hold(layout)
    layout.identity.mkdir(exist_ok=True, mode=0o700)
    keeper = asyncio.create_task(keep_control_plane(layout))
    tokens = TokenKey.load_or_create(layout.identity / "token.key")
    hooks = Hooks(SidecarPlane(layout.ads_socket, tokens.mint_for))
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
    lock.close()
    for task in done - {waiting}:
        task.result()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except MeshlabError as refused:
        sys.exit(f"{refused}")
