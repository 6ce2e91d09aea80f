"""The seam to where things run: a `Runtime`, what it shows (`Observed`), what a plane puts into a pod (`PodPlan`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from meshlab.model.ids import Ref
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId

Manifest = Mapping[str, Any]
"""One Kubernetes document as parsed from YAML (already validated)."""


@dataclass(frozen=True)
class Observed:
    """Everything a runtime knows at one moment. `revision` grows with every change."""

    revision: int = 0
    manifests: tuple[Manifest, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    cluster_ips: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What an apply or a delete did to one object: created, configured, unchanged, deleted."""

    ref: Ref
    verb: str

    def __str__(self) -> str:
        return f"{self.ref} {self.verb}"


@dataclass(frozen=True)
class PodStatus:
    """One pod for `get pods`. `phase`: Pending, Starting, Running, Succeeded, Failed, Terminating; `message`: why."""

    pod: PodId
    uid: str
    phase: str
    ready: bool
    restarts: int
    node: str
    ip: str
    mode: Mode
    workload: str
    service_account: str
    images: tuple[str, ...]
    started: float
    """Unix seconds."""
    message: str = ""


@dataclass(frozen=True)
class ResourceSample:
    """CPU and memory of one part. `part`: application, proxy, node-proxy, agent, control-plane, cluster."""

    part: str
    namespace: str
    pod: str
    node: str
    pids: int
    cpu_s: float
    """CPU seconds since the part started (its cgroup's usage)."""
    pss_bytes: int
    rss_bytes: int


@dataclass(frozen=True)
class ExecResult:
    exit_code: int
    stdout: bytes
    stderr: bytes


class Runtime(Protocol):
    """Eight methods; `memory.MemoryRuntime` is the shipped fake, `local.LocalRuntime` the embedded default."""

    async def apply(self, manifests: Sequence[Manifest]) -> list[Change]:
        """Create or change objects, all or nothing."""
        ...

    async def delete(self, refs: Sequence[Ref]) -> list[Change]:
        """Remove objects; NotFound if one is not there (nothing is removed then)."""
        ...

    def watch(self) -> AsyncIterator[Observed]:
        """The present state at once, then each newer state (intermediate ones may be skipped). Survives a restart of
        the runtime's daemon: reconnects until cancelled."""
        ...

    async def pods(self) -> list[PodStatus]: ...

    async def exec(
        self, pod: PodId, command: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None
    ) -> ExecResult:
        """Run a command inside a running pod: its network, mounts, hostname and cgroup; or, where `pod` has no
        namespace, in the network of the node of that name. TimedOut ends the command."""
        ...

    def logs(self, pod: PodId, *, container: str = "", follow: bool = False) -> AsyncIterator[bytes]:
        """Lines of a pod's output, oldest first. `container`: "" is the first one; "envoy" is the proxy."""
        ...

    async def resources(self) -> list[ResourceSample]: ...

    async def down(self) -> None:
        """Remove all that the runtime made."""
        ...


@dataclass(frozen=True)
class Companion:
    """A process beside the application, as a Kubernetes native sidecar: started and ready before it, stopped after it,
    restarted at once when it dies."""

    name: str
    argv: tuple[str, ...]
    uid: int
    files: Mapping[str, str] = field(default_factory=dict)
    """Name -> content, written 0600 for `uid` into the companion's own folder before it starts. `{dir}` in `argv` is
    that folder."""
    ready_port: int = 0
    ready_path: str = "/"
    """An HTTP GET on 127.0.0.1 in the pod's network that answers 200 when ready."""
    drain_port: int = 0
    drain_path: str = ""
    """An HTTP POST on 127.0.0.1 in the pod's network that begins draining; "" for none."""
    drain_s: float = 0.0
    """How long it goes on serving after the drain began."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities that it keeps as `uid`, as setpriv(1) names them."""
    ready_file: str = ""
    """On a node: it writes this file into its folder when it is ready, and those after it start no sooner."""


@dataclass(frozen=True)
class PodPlan:
    """What a data plane wants in a pod before its first packet. `rules` is an nftables script for the pod's network
    namespace, loaded before any process of the pod starts. `local_mark`: packets with this mark are delivered inside
    the pod whatever their addresses, and a socket accepted from one answers with it (0: none)."""

    rules: str = ""
    local_mark: int = 0
    companions: tuple[Companion, ...] = ()
    gate_port: int = 0
    """The application starts when an HTTP GET of `gate_path` on 127.0.0.1 in the pod answers 200 (0: no gate)."""
    gate_path: str = "/"
    gate_file: Path | None = None
    """The application starts no sooner than this file exists."""


class PodHooks(Protocol):
    """What a runtime calls of the data planes; wired by `daemons`."""

    def plan(self, endpoint: Endpoint) -> PodPlan:
        """The plan for one pod, asked for before it starts and after the runtime restarts. CannotRun where the plane
        cannot serve it."""
        ...

    def node(self, name: str, mode: Mode) -> tuple[Companion, ...]:
        """What must run on a node for its pods of a mode, in the order of starting; asked for with each such pod.
        CannotRun where the plane cannot work here."""
        ...
