"""What runs once on a node, for all of its pods: the companions that a plane wants there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from meshlab.kit import cgroups, processes
from meshlab.kit.layout import Layout
from meshlab.runtimes.base import Companion
from meshlab.runtimes.local import companions
from meshlab.runtimes.local.network import Network


class Node:
    """One node: its companions are started with the first pod that needs them, and again whenever they end."""

    def __init__(self, name: str, layout: Layout, network: Network) -> None:
        self.name = name
        self._folder, self._logs = layout.nodes / name, layout.logs / name
        self._group = cgroups.node_group(layout.name, name)
        self._netns = f"/run/netns/{network.node_netns(name)}"
        self._keepers: dict[str, asyncio.Task[None]] = {}

    def enter(self, part: str, command: Sequence[str]) -> list[str]:
        """The command in the node's network, in the cgroup of a part."""
        group = self._group / part
        group.mkdir(parents=True, exist_ok=True)
        return processes.joined(group, ["nsenter", f"--net={self._netns}", "--wd=/", "--", *command])

    def want(self, wanted: Sequence[Companion]) -> None:
        """Have these running, or take over what a former daemon started."""
        after: list[Path] = []
        for companion in wanted:
            if companion.name not in self._keepers:
                self._keepers[companion.name] = asyncio.ensure_future(self._keep(companion, tuple(after)))
            if companion.ready_file:
                after.append(self._folder / companion.name / companion.ready_file)

    async def _keep(self, companion: Companion, after: Sequence[Path]) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        folder, log = self._folder / companion.name, self._logs / f"{companion.name}.log"
        while not all(path.exists() for path in after):
            await asyncio.sleep(0.02)
        await processes.keep(
            self._folder / f"{companion.name}.pid", lambda: companions.start(companion, folder, log, self.enter)
        )

    def parts(self) -> dict[str, Path]:
        """The cgroup of each companion, by name."""
        return {name: self._group / name for name in self._keepers}

    def close(self) -> None:
        """Stop watching; the companions run on."""
        for task in self._keepers.values():
            task.cancel()
