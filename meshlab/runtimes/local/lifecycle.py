"""Up and down of a local lab from outside its daemons: also when every one of them is dead."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

import aiohttp

from meshlab.errors import CannotRun
from meshlab.kit import bpffs, cgroups, processes
from meshlab.kit.files import last_words, write_whole
from meshlab.kit.layout import Layout
from meshlab.kit.ledger import Ledger
from meshlab.kit.processes import Proc
from meshlab.model.settings import Settings

_START_S = 30.0


def start_daemon(layout: Layout, module: str, part: str) -> Proc:
    """Start a daemon of the lab in its own cgroup; it outlives the caller."""
    group = cgroups.lab_group(layout.name) / "system" / part
    group.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, layout.name]
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "GRPC_VERBOSITY": "ERROR"}
    return processes.spawn(processes.joined(group, command), log=layout.logs / f"{part}.log", env=env, cwd="/")


async def healthy(layout: Layout) -> bool:
    """Does the cluster daemon answer?"""
    try:
        connector = aiohttp.UnixConnector(str(layout.cluster_socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://cluster/healthz", timeout=aiohttp.ClientTimeout(total=2)) as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def launch(layout: Layout, settings: Settings, progress: Callable[[str], None]) -> None:
    """Bring the lab's daemons up, or find them up. CannotRun (with the daemon's last words) leaves nothing behind,
    unless the lab was there before."""
    if await healthy(layout):
        progress(f"lab {layout.name} is up already")
        return
    fresh = not layout.settings.exists()
    try:
        if fresh:
            progress(f"making lab {layout.name} in {layout.root}")
            _make(layout, settings)
        progress("starting the cluster daemon and the control plane")
        await _start(layout)
    except Exception:
        if fresh:
            await remove_lab(layout)
        raise


def _make(layout: Layout, settings: Settings) -> None:
    layout.home.mkdir(parents=True, exist_ok=True, mode=0o711)
    layout.root.mkdir(mode=0o711, exist_ok=True)
    ledger = Ledger(layout.ledger)
    ledger.record("folder", str(layout.root))
    ledger.record("cgroup", str(cgroups.lab_group(layout.name)))
    ledger.record("pins", str(bpffs.pins_of(layout.name)))
    layout.logs.mkdir(exist_ok=True, mode=0o700)
    write_whole(layout.settings, json.dumps(asdict(settings)).encode())


async def _start(layout: Layout) -> None:
    daemon = start_daemon(layout, "meshlab.daemons.cluster", "cluster")
    deadline = time.monotonic() + _START_S
    while not await healthy(layout):
        if not daemon.alive() or time.monotonic() > deadline:
            words = last_words(layout.logs / "cluster.log")
            raise CannotRun(f"the cluster daemon did not come up: {words}", hint="meshlab doctor")
        await asyncio.sleep(0.05)


async def remove_lab(layout: Layout) -> None:
    """Everything the ledger says, whoever is still alive. Twice is fine."""
    await asyncio.to_thread(_remove, layout)


def _remove(layout: Layout) -> None:
    if not layout.root.exists():
        return
    cgroups.remove(cgroups.lab_group(layout.name))
    Ledger(layout.ledger).undo_all()
    shutil.rmtree(layout.root, ignore_errors=True)
