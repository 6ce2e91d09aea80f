"""From the daemons' answers to frames: the last step of the road before a user sees it."""

from __future__ import annotations

import asyncio
import difflib
import time
from typing import TYPE_CHECKING, Any

import pandas as pd

from meshlab.dataplanes.envoy.counters import LogCounters, agent_counters, log_counters, parse_stats, stats_command
from meshlab.errors import MeshlabError, NotFound
from meshlab.model.wire import AGENT, AGENT_PORT
from meshlab.model.workloads import Mode
from meshlab.model.world import PodId
from meshlab.telemetry import frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshlab.lab.control_client import ControlClient
    from meshlab.runtimes.base import Observed, PodStatus, Runtime
    from meshlab.telemetry.events import FlowEvent

_QUIET_S, _FLUSHED_S = 1.5, 0.7
"""Three intervals at which proxies send their rows, and one."""

KINDS = {
    "Namespace": ("ns", "namespaces"),
    "ServiceAccount": ("sa", "serviceaccounts"),
    "Service": ("svc", "services"),
    "Deployment": ("deploy", "deployments"),
    "Pod": ("po", "pods"),
    "HTTPRoute": ("httproutes", "routes"),
    "AuthorizationPolicy": ("authz", "authorizationpolicies"),
    "PeerAuthentication": ("pa", "peerauthentications"),
}


def kind_name(text: str) -> str:
    """The kind meant by `svc`, `services`, `Service`; NotFound with the nearest name otherwise."""
    words = {alias: kind for kind, aliases in KINDS.items() for alias in (*aliases, kind.lower())}
    found = words.get(text.lower())
    if found is None:
        near = difflib.get_close_matches(text.lower(), words, n=1)
        hint = f"did you mean {near[0]}?" if near else f"kinds: {', '.join(sorted(words))}"
        raise NotFound(f"unknown kind {text!r}", hint=hint)
    return found


def pods_frame(pods: Sequence[PodStatus], namespace: str) -> pd.DataFrame:
    """One row per pod: namespace, name, ready, phase, restarts, mode, node, ip, workload, age_s, message."""
    now = time.time()
    return pd.DataFrame(
        [
            {
                "namespace": pod.pod.namespace,
                "name": pod.pod.name,
                "ready": pod.ready,
                "phase": pod.phase,
                "restarts": pod.restarts,
                "mode": str(pod.mode),
                "node": pod.node,
                "ip": pod.ip,
                "workload": pod.workload,
                "service_account": pod.service_account,
                "age_s": round(now - pod.started, 1) if pod.started else None,
                "message": pod.message,
            }
            for pod in pods
            if not namespace or pod.pod.namespace == namespace
        ]
    )


def select(observed: Observed, kind: str, namespace: str) -> list[dict[str, Any]]:
    """The documents of a kind ("" for all) and namespace ("" for all)."""
    return [
        dict(manifest)
        for manifest in observed.manifests
        if (not kind or manifest["kind"] == kind)
        and (not namespace or manifest["metadata"].get("namespace", "") == namespace)
    ]


def manifests_frame(observed: Observed, kind: str, namespace: str) -> pd.DataFrame:
    """One row per object: namespace, name, and what matters most of its kind."""
    rows = []
    for manifest in select(observed, kind, namespace):
        meta, spec = manifest["metadata"], manifest.get("spec", {})
        row = {"namespace": meta.get("namespace", ""), "name": meta["name"]}
        if kind == "Service":
            row["cluster_ip"] = observed.cluster_ips.get((row["namespace"], row["name"]), spec.get("clusterIP", ""))
            row["ports"] = ",".join(str(port["port"]) for port in spec.get("ports", []))
        elif kind == "Deployment":
            row["replicas"] = spec.get("replicas", 1)
            row["ready"] = sum(
                e.ready for e in observed.endpoints if (e.pod.namespace, e.workload) == (row["namespace"], row["name"])
            )
        elif kind == "HTTPRoute":
            row["parents"] = ",".join(parent["name"] for parent in spec.get("parentRefs", []))
        elif kind == "AuthorizationPolicy":
            row["action"] = spec.get("action", "ALLOW")
            row["rules"] = len(spec.get("rules") or [])
        elif kind == "PeerAuthentication":
            row["mode"] = spec.get("mtls", {}).get("mode", "UNSET")
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["namespace", "name"])


async def proxies(control: ControlClient, runtime: Runtime) -> pd.DataFrame:
    """Who has what, and how many of each proxy's flow rows were written, lost and received."""
    counted, received = await _written(runtime), await _received(control)
    rows = [
        {
            **row,
            "rows_written": counters.written if counters else None,
            "rows_dropped": counters.dropped if counters else None,
            "rows_received": received.get(pod, 0),
        }
        for row in await control.json("/proxies")
        for pod in [f"{row['namespace']}/{row['pod']}"]
        for counters in [counted.get(pod)]
    ]
    return frames.proxies_frame(rows)


async def config_events(control: ControlClient) -> pd.DataFrame:
    return frames.config_events_frame(await control.json("/config-events", after=0))


async def _written(runtime: Runtime) -> dict[str, LogCounters]:
    """The log counters of every proxy and agent that answers, by client."""

    async def ask(client: str, pod: PodId, command: Sequence[str]) -> tuple[str, LogCounters] | None:
        try:
            done = await runtime.exec(pod, command, timeout_s=5.0)
        except MeshlabError:
            return None
        read = agent_counters if client.endswith(f"/{AGENT}") else log_counters
        return (client, read(done.stdout)) if done.exit_code == 0 else None

    running = [status for status in await runtime.pods() if status.phase == "Running"]
    pods = {status.pod for status in running if status.mode is Mode.SIDECAR}
    nodes = {PodId("", status.node) for status in running if status.mode is Mode.SIDECARLESS}
    asked = [ask(str(pod), pod, stats_command()) for pod in pods | nodes]
    asked += [ask(f"{node}/{AGENT}", node, stats_command("flows", AGENT_PORT)) for node in nodes]
    return dict(filter(None, await asyncio.gather(*asked)))


async def counters(runtime: Runtime) -> pd.DataFrame:
    """One row per counter of each node's agent and kernel: node, counter, value."""
    nodes = sorted({status.node for status in await runtime.pods() if status.mode is Mode.SIDECARLESS})
    command = stats_command("", AGENT_PORT)
    told = [(node, await runtime.exec(PodId("", node), command, timeout_s=5.0)) for node in nodes]
    rows = [(node, name, value) for node, done in told for name, value in parse_stats(done.stdout).items()]
    return pd.DataFrame(rows, columns=["node", "counter", "value"])


async def _received(control: ControlClient) -> dict[str, int]:
    counted: dict[str, int] = (await control.json("/counters"))["rows"]
    return counted


async def settle(control: ControlClient, runtime: Runtime, settle_s: float) -> None:
    """Wait until every flow row that the proxies have written so far has arrived, at most `settle_s` seconds, and not
    longer than anything arrives at all (rows sent to a control plane that was being restarted never do). Where
    connections may have ended of which a proxy has not told yet, that is one interval of its telling.

    Once more after all has arrived: what a proxy was just about to write when it was asked is not missed.
    """
    deadline = time.monotonic() + settle_s
    before: dict[str, LogCounters] | None = None
    while time.monotonic() < deadline:
        written = await _written(runtime)
        if written == before or not await _arrive(control, written, deadline):
            return
        before = written


async def _arrive(control: ControlClient, written: dict[str, LogCounters], deadline: float) -> bool:
    """Have all rows arrived, before the deadline or a pause of some flush intervals?"""
    last, moved = await _received(control), time.monotonic()
    while any(last.get(pod, 0) < counters.written + counters.connections for pod, counters in written.items()):
        late = any(last.get(pod, 0) < counters.written for pod, counters in written.items())
        if time.monotonic() > min(deadline, moved + (_QUIET_S if late else _FLUSHED_S)):
            return not late
        await asyncio.sleep(0.05)
        received = await _received(control)
        if received != last:
            last, moved = received, time.monotonic()
    return True


async def identities(control: ControlClient) -> pd.DataFrame:
    return frames.identities_frame(await control.json("/identities"))


async def resources(runtime: Runtime) -> pd.DataFrame:
    return frames.resources_frame(await runtime.resources())


async def flows(control: ControlClient) -> pd.DataFrame:
    """Every flow that the control plane still holds, decoded here and not there."""
    from meshlab.dataplanes.envoy import flows as envoy
    from meshlab.dataplanes.sidecarless import flows as kernel
    from meshlab.telemetry import carried, store

    def decode(record: store.Record) -> Iterator[FlowEvent]:
        if record.reporter.endswith(f"/{AGENT}"):
            node = record.reporter.removesuffix(f"/{AGENT}").removeprefix("/")
            return kernel.decode(record.payload, node, peers)
        return envoy.decode(record.payload, record.reporter, peers)

    peers = {row["ip"]: row for row in await control.json("/peers")}
    raw = await control.body("/flows", after=0)
    events = carried.joined(event for record in store.records(raw) for event in decode(record))
    acks = [row for row in await control.json("/config-events", after=0) if row["kind"] == "ack"]
    return frames.flows_frame(events, acks)
