"""One node's kernel plane: load, attach, tell it of pods and plans, read it, leave it running, or remove it.

with KernelNode.open("lab", "node-1") as node:
    node.attach(pods=..., proxy=...)     # cgroups; takes over what a former agent left, without a gap
    node.add_pod(Pod(1, 1, "10.129.0.3", "/run/netns/..."))
    node.apply(Plan(...))
# the agent is gone, the kernel goes on
pins.remove("lab", "node-1")             # nothing is left
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from meshlab.dataplanes.sidecarless import counters, edges, libbpf, loader, pins, pods, policy
from meshlab.dataplanes.sidecarless.edges import Edge
from meshlab.dataplanes.sidecarless.hooks import HOOKS
from meshlab.dataplanes.sidecarless.loader import Loaded
from meshlab.dataplanes.sidecarless.plan import Plan
from meshlab.dataplanes.sidecarless.pods import Pod
from meshlab.dataplanes.sidecarless.ring import Ring
from meshlab.dataplanes.sidecarless.tables import Table
from meshlab.errors import CannotRun
from meshlab.kit.files import opened

_PODS_HOOKS = ("egress", "ingress", "life", "sock_create", "getpeername4", "getpeername6", "connect4", "connect6")
"""In this order: a connect may be diverted only when its destination can be kept."""
_PROXY_HOOKS = ("proxy-egress", "listen", "getsockopt", "inward")
"""Names of links; of the programs, where another link has the program's name."""
_FLOWS_BESIDE = 1024
"""Room for connections that begin while the living ones are listed."""


class KernelNode:
    """Made by `open`. `close` (or the end of `with`) lets go of the descriptors; what is pinned goes on."""

    def __init__(self, lab: str, node: str, folder: Path, loaded: Loaded) -> None:
        self.lab, self.node = lab, node
        self._loaded = loaded
        self._links = pins.Links(folder)
        self.tables = {
            name: Table(layout) for name, layout in loaded.tables.items() if name not in ("counters", "edges", "events")
        }
        self._ring: Ring | None = None
        self._closed = False

    @classmethod
    def open(cls, lab: str, node: str, *, show_log: bool = False) -> KernelNode:
        """Compile and load (about a second); maps that a former agent pinned are used again. CannotRun, with nothing
        left behind that was not there before."""
        folder = pins.folder(lab, node)
        fresh = not any(folder.iterdir())
        try:
            return cls(lab, node, folder, loader.load(folder, show_log=show_log))
        except BaseException:
            if fresh:
                pins.remove(lab, node)
            raise

    def attach(self, *, pods: Path, proxy: Path) -> None:
        """Attach below two cgroups: the common ancestor of the pods', and the node's Envoy's, which is not inside it.
        Envoy starts after this: its listening sockets are known from the moment they listen.
        All or nothing: CannotRun names the hook that the kernel refused."""
        made: list[str] = []
        try:
            for group, hooks in ((proxy, _PROXY_HOOKS), (pods, _PODS_HOOKS)):
                with opened(group) as descriptor:
                    for name in hooks:
                        self._put(made, name, descriptor)
        except OSError as error:
            for name in reversed(made):
                self._links.drop(name)
            raise CannotRun(
                f"the kernel refuses: {error}", hint="meshlab doctor shows what this kernel lacks"
            ) from error

    def _put(self, made: list[str], name: str, target: int) -> None:
        program = name.removeprefix("proxy-")
        if self._links.put(name, self._loaded.programs[program], target, HOOKS[program].attach_type):
            made.append(name)

    def add_pod(self, pod: Pod) -> None:
        """Make a pod known, before its first process, or take it over; a pod of another plane is known but not judged.
        Twice is fine."""
        pods.add(self.tables, self._links, self._loaded.programs, pod)

    def remove_pod(self, ip: str) -> bool:
        """Forget a pod; False if it was not known."""
        return pods.remove(self.tables, self._links, ip)

    def pods(self) -> dict[str, tuple[int, int]]:
        """Address -> (index, identity) of every pod that the kernel knows on this node."""
        return pods.standing(self.tables)

    def apply(self, plan: Plan) -> int:
        """Put a plan in force as a whole, for connections that begin from now on; the number of its generation.
        On an error the present one stays."""
        return policy.apply(self.tables, plan)

    @property
    def generation(self) -> int:
        return policy.generation(self.tables)

    def counters(self) -> dict[str, int]:
        """Every counter of bpf/include/counters.h by its name in lower case; they grow until the plane is removed."""
        return counters.read(self._loaded.tables["counters"].descriptor)

    def ids(self) -> dict[str, set[int]]:
        """The kernel's numbers of this node's maps and programs ("map", "prog"): what must be gone after `remove`."""
        return {
            "map": {libbpf.object_id(descriptor) for descriptor in self._maps()},
            "prog": {libbpf.object_id(descriptor) for descriptor in self._loaded.programs.values()},
        }

    def edges(self) -> list[Edge]:
        """HTTP requests between pods of this node, as the kernel read them, one row an edge."""
        return edges.read(self._loaded.tables["edges"], self.tables["paths"])

    def verified(self) -> dict[str, int]:
        """Instructions that the verifier walked through, by program: how far each is from the kernel's limit."""
        return {name: loader.verified_instructions(number) for name, number in self._loaded.programs.items()}

    def flows(self) -> list[tuple[Any, Any]]:
        """The same-node connections that live now: (tuple, flow) as in bpf/include/flows.h."""
        counted = self.counters()
        return self.tables["flows"].items(room=_FLOWS_BESIDE + 2 * max(0, counted["flows"] - counted["flows_ended"]))

    def run_times_ns(self) -> dict[str, int]:
        """How long each program has run since this agent loaded it, while sysctl kernel.bpf_stats_enabled was 1."""
        return {name: loader.run_time_ns(number) for name, number in self._loaded.programs.items()}

    def map_bytes(self) -> int:
        """What this node's maps take of the kernel's memory."""
        return sum(loader.memory_bytes(descriptor) for descriptor in self._maps())

    def _maps(self) -> set[int]:
        return {*(table.descriptor for table in self._loaded.tables.values()), *self._loaded.raw.values()}

    def ring(self) -> Ring:
        """The events; one reader at a time."""
        if self._ring is None:
            self._ring = Ring(self._loaded.tables["events"].descriptor, self._loaded.tables["events"].leaf)
        return self._ring

    @property
    def ring_id(self) -> int:
        """The kernel's number of the ring buffer: another one begins at position 0 again."""
        return libbpf.object_id(self._loaded.tables["events"].descriptor)

    def close(self) -> None:
        """Let go; enforcement goes on. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._loaded.close()

    def remove(self) -> None:
        """Detach and remove everything of this node."""
        self.close()
        pins.remove(self.lab, self.node)

    def __enter__(self) -> KernelNode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
