"""`Lab`: a mesh to hold in the hand. A sync face; all work runs on one background loop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Self

from meshlab.errors import CannotRun, InvalidDocuments, MeshlabError, NotFound, TimedOut
from meshlab.kit import loop
from meshlab.kit.files import last_words
from meshlab.kit.layout import Layout
from meshlab.lab import reading, sources
from meshlab.lab.control_client import ControlClient
from meshlab.model import checks, documents
from meshlab.model.ids import DEFAULT_NAMESPACE, DEFAULT_TRUST_DOMAIN, Ref
from meshlab.model.mesh import Mesh
from meshlab.model.settings import Settings
from meshlab.model.workloads import Deployment, Mode, Pod
from meshlab.model.world import PodId
from meshlab.runtimes.local import LocalRuntime, launch, remove_lab

if TYPE_CHECKING:
    import pandas as pd

    from meshlab.runtimes.base import Change, ExecResult, Observed, PodStatus
    from meshlab.traffic.results import Result

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    return None


def _belongs(pod: PodStatus, deployment: Deployment) -> bool:
    return (pod.pod.namespace, pod.workload) == (deployment.namespace, deployment.name)


def _require_owner(layout: Layout) -> None:
    """CannotRun for a lab that somebody else made: half of what it takes would be refused, one call after the other."""
    if layout.root.exists() and os.geteuid() not in (0, layout.root.stat().st_uid):
        raise CannotRun(f"lab {layout.name!r} belongs to another user", hint="run it with sudo")


class Lab:
    """One lab: `with Lab("demo") as lab: lab.apply("sample:shop")`.

    As a context manager it comes up on entry and is removed on exit; otherwise it outlives this process and
    `Lab.attach(name)` finds it again. Times given are seconds.
    """

    def __init__(
        self,
        name: str = "lab",
        *,
        runtime: str = "local",
        nodes: int = 2,
        mode: str = "sidecar",
        trust_domain: str = DEFAULT_TRUST_DOMAIN,
        svid_ttl_s: float = 86_400.0,
        progress: Progress = _silent,
    ) -> None:
        """Choose what the lab is; nothing is started yet. CannotRun for a runtime that this version does not have."""
        if runtime != "local":
            raise CannotRun(f"runtime {runtime!r} is not built yet", hint="use runtime='local', the embedded default")
        if mode not in set(Mode):
            raise MeshlabError(f"mode={mode!r}: expected one of {', '.join(Mode)}")
        if isinstance(nodes, bool) or not isinstance(nodes, int) or not 1 <= nodes <= 9:
            raise MeshlabError(f"nodes={nodes}: expected 1 to 9")
        if not 1 <= svid_ttl_s <= 315_360_000:
            raise MeshlabError(f"svid_ttl_s={svid_ttl_s}: expected 1 second to 10 years", hint="for example 3600")
        if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?", trust_domain):
            raise MeshlabError(f"trust_domain={trust_domain!r}: expected lower-case letters, digits, dots and dashes")
        self.settings = Settings(name, nodes, Mode(mode), trust_domain, svid_ttl_s)
        self._layout = Layout.of(name)
        self._progress = progress
        self._runtime = LocalRuntime(self._layout)
        self._control = ControlClient(self._layout.control_socket)

    # life

    @classmethod
    def attach(cls, name: str = "lab", *, progress: Progress = _silent) -> Lab:
        """Find a lab that is up. NotFound if there is none of that name."""
        layout = Layout.of(name)
        if not layout.settings.exists():
            raise NotFound(f"no lab named {name!r} is up", hint=f"meshlab up --name {name}")
        _require_owner(layout)
        try:
            stored = dict(json.loads(layout.settings.read_text()))
        except (ValueError, TypeError) as error:
            way_out = f"meshlab down --name {name}, then up again"
            raise MeshlabError(f"the settings of lab {name!r} cannot be read: {error}", hint=way_out) from None
        known = {field.name for field in fields(Settings)} - {"name"}
        return cls(name, progress=progress, **{key: value for key, value in stored.items() if key in known})

    def _as_it_stands(self) -> None:
        """Take the settings of the lab that was found up, whatever was asked for, and say so."""
        stands = Lab.attach(self.settings.name).settings
        if stands != self.settings:
            words = ", ".join(
                f"{key}={value}" for key, value in asdict(stands).items() if value != getattr(self.settings, key)
            )
            self._progress(f"lab {stands.name} stays as it was made: {words}")
            self.settings = stands

    def up(self) -> Lab:
        """Bring the lab up and wait until its control plane answers; a lab that is up already stays as it is.

        CannotRun (with the way out) where this machine lacks something; nothing is left half made then.
        """
        from meshlab.lab import doctor

        doctor.require()
        loop.run(self._up())
        self._as_it_stands()
        return self

    async def _up(self) -> None:
        fresh = not self._layout.settings.exists()
        await launch(self._layout, self.settings, self._progress)
        try:
            await self._until(self._control_answers, 30.0, "the control plane to answer")
        except TimedOut as error:
            words = last_words(self._layout.logs / "control-plane.log")
            if fresh:
                await remove_lab(self._layout)
            raise CannotRun(f"the control plane did not come up: {words}", hint="meshlab doctor") from error

    async def _control_answers(self) -> str:
        try:
            await self._control.json("/status")
        except MeshlabError as error:
            return str(error) if self._layout.control_socket.exists() else "it is starting"
        return ""

    def down(self) -> None:
        """Remove exactly what the ledger says the lab made, also after any process was killed. Twice is fine."""
        _require_owner(self._layout)
        loop.run(remove_lab(self._layout))

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    # documents

    def apply(self, source: sources.Source, *, namespace: str = DEFAULT_NAMESPACE) -> list[Change]:
        """Apply documents: a path, `sample:NAME`, YAML text or parsed documents. All or nothing.

        InvalidDocuments carries every problem at once; nothing is changed then.
        """
        text, name = sources.read(source)
        return loop.run(self._apply(text, name, namespace))

    async def _apply(self, text: str, name: str, namespace: str) -> list[Change]:
        loaded = documents.load(text, name, namespace=namespace)
        problems = [problem for problem in loaded.problems if problem.severity == "error"]
        if not problems:
            found = checks.check(Mesh({**(await self._mesh()).nouns, **loaded.mesh.nouns}))
            problems = [problem for problem in found if problem.severity == "error"]
            mine = {str(ref) for ref in loaded.mesh.nouns}
            for warning in found:
                if warning.severity == "warning" and warning.object in mine:
                    self._progress(str(warning))
        if problems:
            raise InvalidDocuments(
                problems, hint="nothing was applied; `meshlab validate -f FILE` checks without a lab"
            )
        return await self._runtime.apply(loaded.manifests)

    def delete(self, source: sources.Source, *, namespace: str = DEFAULT_NAMESPACE) -> list[Change]:
        """Delete the objects that documents name (same sources as `apply`). NotFound if one is not there."""
        text, name = sources.read(source)
        loaded = documents.load(text, name, namespace=namespace)
        errors = [problem for problem in loaded.problems if problem.severity == "error"]
        if errors:
            raise InvalidDocuments(errors)
        return loop.run(self._runtime.delete(list(loaded.mesh.nouns)))

    def remove(self, kind: str, name: str, *, namespace: str = DEFAULT_NAMESPACE) -> list[Change]:
        """Delete one object by kind and name."""
        found = reading.kind_name(kind)
        ref = Ref(found, "" if found == "Namespace" else namespace, name)
        try:
            return loop.run(self._runtime.delete([ref]))
        except NotFound:
            for pod in self.pods() if found == "Pod" else ():
                if str(pod.pod) == f"{namespace}/{name}" and pod.workload != name:
                    belongs = f"{pod.pod} belongs to Deployment {pod.workload}, which would make another"
                    raise NotFound(belongs, hint=f"meshlab delete deployment {pod.workload} -n {namespace}") from None
            raise

    def get(self, kind: str = "pods", *, namespace: str = "") -> pd.DataFrame:
        """Objects of a kind (`pods`, `services`, `deployments`, `httproutes`, ...), one row each."""
        if reading.kind_name(kind) == "Pod":
            return reading.pods_frame(self.pods(), namespace)
        return reading.manifests_frame(loop.run(self._observed()), reading.kind_name(kind), namespace)

    def manifests(self, kind: str = "", *, namespace: str = "") -> list[dict[str, Any]]:
        """The documents as they stand, in apply form."""
        wanted = reading.kind_name(kind) if kind else ""
        return reading.select(loop.run(self._observed()), wanted, namespace)

    async def _observed(self) -> Observed:
        async for observed in self._runtime.watch():
            return observed
        raise NotFound("the lab shows no state")

    async def _mesh(self) -> Mesh:
        return Mesh.of(documents.noun(manifest) for manifest in (await self._observed()).manifests)

    # pods

    def pods(self) -> list[PodStatus]:
        """Every pod with its phase, readiness, restarts, node, address."""
        return loop.run(self._runtime.pods())

    def pod(self, name: str, *, namespace: str = "", ready: bool = True) -> PodId:
        """The pod meant by `pod`, `ns/pod` or a workload's name (its first ready pod; with `ready=False` another where
        none is ready); NotFound says what there is."""
        if "/" in name:
            namespace, name = name.split("/", 1)
        pods = [pod for pod in self.pods() if not namespace or pod.pod.namespace == namespace]
        chosen = [p for p in pods if p.pod.name == name] or [p for p in pods if p.workload == name and p.ready]
        if not chosen and not ready:
            chosen = [p for p in pods if p.workload == name]
        if not chosen:
            known = ", ".join(sorted({str(pod.pod) for pod in pods})) or "none"
            what = "ready workload" if ready else "workload"
            raise NotFound(f"no pod or {what} {name!r}", hint=f"pods here: {known}")
        return chosen[0].pod

    def exec(
        self, pod: str, command: Sequence[str], *, namespace: str = "", stdin: bytes = b"", timeout_s: float = 60.0
    ) -> ExecResult:
        """Run a command (a list of words) inside a pod: its network, mounts, hostname, cgroup, environment."""
        if isinstance(command, str):  # a sequence, but of letters
            raise MeshlabError(
                f"command={command!r}: expected a list of words", hint=f"{command.split()!r}, or ['sh', '-c', ...]"
            )
        where = self.pod(pod, namespace=namespace, ready=False)
        return loop.run(self._runtime.exec(where, list(command), stdin=stdin, timeout_s=timeout_s))

    def logs(self, pod: str, *, namespace: str = "", container: str = "") -> str:
        """A pod's output so far; `container="envoy"` for its proxy, pod `control-plane` or `cluster` for a daemon."""
        if pod in ("control-plane", "cluster"):
            path = self._layout.logs / f"{pod}.log"
            return path.read_text(errors="replace") if path.exists() else ""
        where = self.pod(pod, namespace=namespace, ready=False)

        async def read() -> bytes:
            return b"".join([line async for line in self._runtime.logs(where, container=container)])

        return loop.run(read()).decode(errors="replace")

    def wait(self, *, timeout_s: float = 60.0) -> Lab:
        """Wait until every wanted pod is ready and every proxy has acknowledged the newest version. TimedOut says
        what was missing."""
        loop.run(self._until(self._not_settled, timeout_s, "the lab to settle"))
        return self

    async def _until(self, missing: Callable[[], Any], timeout_s: float, what: str) -> None:
        """Poll until `missing()` is empty text."""
        deadline = time.monotonic() + timeout_s
        last = ""
        while reason := await missing():
            if reason != last:
                self._progress(f"waiting for {what}: {reason.splitlines()[0]}")
                last = reason
            if time.monotonic() > deadline:
                words = f"waited {timeout_s:g} s for {what}: {reason}{await self._troubles()}"
                raise TimedOut(words, hint="meshlab get pods; meshlab logs control-plane")
            await asyncio.sleep(0.05)

    async def _troubles(self) -> str:
        """What the control plane itself complains of."""
        try:
            problems = (await self._control.json("/status"))["problems"]
        except MeshlabError:
            return ""
        return f"; the control plane says: {'; '.join(problems[:3])}" if problems else ""

    async def _not_settled(self) -> str:
        observed = await self._observed()
        mesh = Mesh.of(documents.noun(manifest) for manifest in observed.manifests)
        pods = await self._runtime.pods()
        ready: dict[tuple[str, str], int] = {}
        for pod in pods:
            key = (pod.pod.namespace, pod.workload)
            ready[key] = ready.get(key, 0) + pod.ready
        for deployment in mesh.all(Deployment):
            have = ready.get((deployment.namespace, deployment.name), 0)
            if have < deployment.replicas:
                why = next((f" ({p.pod.name}: {p.message})" for p in pods if _belongs(p, deployment) and p.message), "")
                return f"deployment {deployment.namespace}/{deployment.name} {have}/{deployment.replicas} ready{why}"
        for bare in mesh.all(Pod):
            if not ready.get((bare.namespace, bare.name)):
                return f"pod {bare.namespace}/{bare.name} not ready"
        if leaving := [str(pod.pod) for pod in pods if pod.phase == "Terminating"]:
            more = f" and {len(leaving) - 3} more" if len(leaving) > 3 else ""
            return f"{', '.join(leaving[:3])}{more} terminating"
        return await self._not_synced(observed.revision)

    async def _not_synced(self, revision: int) -> str:
        status = await self._control.json("/status")
        if status["revision"] < revision:
            return f"the control plane to see revision {revision}"
        behind = [
            f"{row['namespace']}/{row['pod']}{' (refused: ' + row['nack'][-200:] + ')' if row['nack'] else ''}"
            for row in await self._control.json("/proxies")
            if not row["connected"] or row["acked_version"] != row["wanted_version"]
        ]
        return f"{', '.join(behind)} to acknowledge {status['version']}" if behind else ""

    # traffic and what happened

    def traffic(self, source: str, url: str, *, namespace: str = "", **options: Any) -> Result:
        """Push load from inside a pod; a summary, and a frame with a row per request.

        `tool="meshlab"` (open loop; options of `meshlab.traffic.spec.TrafficSpec`: rate per second, duration_s,
        profile, seed, method, headers, body), or "wrk" or "h2load" where they are installed (closed loop; options of
        `meshlab.traffic.adapters.ClosedLoop`: connections, threads, streams, duration_s)."""
        from meshlab.lab import traffic

        wanted = traffic.load(url, **options)
        return traffic.run(self, self.pod(source, namespace=namespace), wanted, self._layout, self._progress)

    def flows(self, *, settle_s: float = 5.0) -> pd.DataFrame:
        """One row per request or connection seen by the proxies; columns as in `meshlab.schema`. Waits until all rows
        that the proxies wrote have arrived, at most `settle_s` seconds; `proxies()` shows what was lost."""
        loop.run(reading.settle(self._control, self._runtime, settle_s))
        return loop.run(reading.flows(self._control))

    def counters(self) -> pd.DataFrame:
        """What the kernel of each node with sidecarless pods counted (what was judged, diverted, refused, lost), what
        its agent wrote, and how long the kernel's programs ran: node, counter, value (`bpf/include/counters.h`)."""
        return loop.run(reading.counters(self._runtime))

    def edges(self, *, settle_s: float = 5.0) -> pd.DataFrame:
        """Who calls whom: requests, rate, errors, p50/p90/p99, mTLS share."""
        from meshlab.telemetry import frames

        return frames.edges_frame(self.flows(settle_s=settle_s))

    def proxies(self) -> pd.DataFrame:
        """One row per proxy: version wanted, acknowledged, when, Envoy's words for a NACK; flow rows that it has
        `written` and `dropped` (its buffer was full) since it started, and rows received from it."""
        return loop.run(reading.proxies(self._control, self._runtime))

    def config_events(self) -> pd.DataFrame:
        """One row per push, ACK and NACK: time (UTC), namespace, pod, kind, type (xDS), version, error (Envoy's)."""
        return loop.run(reading.config_events(self._control))

    def identities(self) -> pd.DataFrame:
        """One row per SVID: who holds it, serial, validity, delivery. Never a key."""
        return loop.run(reading.identities(self._control))

    def resources(self) -> pd.DataFrame:
        """CPU seconds and memory (PSS) of each application, proxy and daemon."""
        return loop.run(reading.resources(self._runtime))

    def status(self) -> dict[str, Any]:
        """The control plane's own words: version, problems that keep the last good configuration serving."""
        status: dict[str, Any] = loop.run(self._control.json("/status"))
        return status

    def __repr__(self) -> str:
        state = "up" if self._layout.settings.exists() else "down"
        return f"Lab({self.settings.name!r}, nodes={self.settings.nodes}, mode={self.settings.mode}, {state})"

    def _repr_html_(self) -> str:
        try:
            pods = self.get("pods")
        except MeshlabError:  # it is down, or its daemon does not answer: a repr has no traceback
            return f"<b>{self!r}</b>"
        return f"<b>{self!r}</b>{'' if pods.empty else pods.to_html(index=False)}"
