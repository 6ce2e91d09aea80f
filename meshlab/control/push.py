"""From a World to every proxy: SVIDs, compiled snapshots, checked before they are offered."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from meshlab.compile import bpf
from meshlab.compile import xds as compiler
from meshlab.control import world as worlds
from meshlab.control.desk import Desk, agent_client, node_client
from meshlab.identity.authority import Authority, Svid
from meshlab.model.settings import Settings
from meshlab.model.snapshot import Snapshot
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, World
from meshlab.runtimes.base import Observed, Runtime
from meshlab.xds.conversation import SECRET
from meshlab.xds.server import AdsServer

_DEBOUNCE_S = 0.03


class Push:
    """One pending push per proxy: while one is compiled, newer worlds replace each other."""

    def __init__(
        self,
        settings: Settings,
        authority: Authority,
        desk: Desk,
        server: AdsServer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._authority, self._desk, self._server = settings, authority, desk, server
        self._clock = clock
        self._good: dict[str, tuple[str, Snapshot]] = {}
        self._svids: dict[str, tuple[str, Svid, float, int]] = {}
        self._holders: dict[str, str] = {}
        """Pod -> the client that holds its SVID."""
        self._latest: Observed | None = None
        self._news = asyncio.Event()
        self.version = ""
        self.revision = 0
        self.problems: tuple[str, ...] = ()

    async def follow(self, runtime: Runtime) -> None:
        """Take in every state that a runtime shows."""
        async for observed in runtime.watch():
            self._latest = observed
            self._news.set()

    async def run(self) -> None:
        """Push when there is news, or an SVID is due."""
        while True:
            due = min((renew for _, _, renew, _ in self._svids.values()), default=self._clock() + 3600)
            try:
                await asyncio.wait_for(self._news.wait(), max(0.05, min(due - self._clock(), 3600)))
                await asyncio.sleep(_DEBOUNCE_S)
            except TimeoutError:
                pass
            self._news.clear()
            if self._latest is not None:
                await self._push(self._latest)

    async def _push(self, observed: Observed) -> None:
        world, problems = worlds.join(observed, self._settings)
        self._desk.see(world)
        found = list(problems)
        for endpoint in world.endpoints:
            if endpoint.mode is not Mode.SIDECAR or not endpoint.ip:
                continue
            found += self._offer_pod(world, endpoint)
            await asyncio.sleep(0)  # streams go on between two proxies
        for node in sorted({endpoint.node for endpoint in world.endpoints}):
            found += self._offer_node(world, node)
            found += self._offer_agent(world, node)
            await asyncio.sleep(0)
        for gone in self._svids.keys() - {str(endpoint.pod) for endpoint in world.endpoints}:
            del self._svids[gone]
            self._holders.pop(gone, None)
            self._good.pop(gone, None)
            self._server.forget(gone)
        self.version, self.problems, self.revision = world.version, tuple(dict.fromkeys(found)), observed.revision

    def _offer_pod(self, world: World, endpoint: Endpoint) -> list[str]:
        """To a pod's own proxy."""
        compile_it = functools.partial(compiler.compile_pod, world, endpoint.pod)
        return self._offer(world, str(endpoint.pod), endpoint.uid, compile_it, {"default": endpoint})

    def _offer_node(self, world: World, node: str) -> list[str]:
        """To a node's shared proxy, once it has had a pod: with the SVIDs of that node's pods, and no others."""
        seats, client = compiler.seated(world, node), node_client(node)
        if not seats and client not in self._good:
            return []
        compile_it = functools.partial(compiler.compile_node, world, node)
        return self._offer(world, client, node, compile_it, {f"svid@{pod.pod}": pod for pod in seats})

    def _offer_agent(self, world: World, node: str) -> list[str]:
        """To a node's agent, once the node has had a pod for it: no secrets."""
        client = agent_client(node)
        if not compiler.seated(world, node) and client not in self._good:
            return []

        def compile_it() -> tuple[Snapshot, tuple[str, ...]]:
            plan = bpf.compile_kernel(world, node)
            return bpf.snapshot(world, plan), bpf.check(plan)

        compiled, problems = self._compiled(client, node, compile_it)
        if compiled is not None:
            self._hand_over(client, compiled)
        return problems

    def _compiled(
        self, client: str, uid: str, compile_it: Callable[[], tuple[Snapshot, tuple[str, ...]]]
    ) -> tuple[Snapshot | None, list[str]]:
        """What to serve: a snapshot with problems is not served, the last good one stays."""
        try:
            compiled, problems = compile_it()
        except Exception as error:
            compiled, problems = None, (f"{client}: {type(error).__name__}: {error}",)
        if problems or compiled is None:
            of, good = self._good.get(client, ("", None))
            return (good if of == uid else None), list(problems)
        self._good[client] = (uid, compiled)
        return compiled, []

    def _offer(
        self, world: World, client: str, uid: str, compile_it: Callable[[], Snapshot], svids: Mapping[str, Endpoint]
    ) -> list[str]:
        """Compile for one proxy, and add its SVIDs (by secret name): they are renewed whatever the documents say."""

        def checked() -> tuple[Snapshot, tuple[str, ...]]:
            made = compile_it()
            return made, compiler.check(made)

        compiled, problems = self._compiled(client, uid, checked)
        if compiled is None:
            return problems
        secrets = {"ROOTCA": compiler.bundle_resource("ROOTCA", self._authority.bundle_pem)}
        for name, endpoint in svids.items():
            svid = self._svid(world, endpoint)
            self._holders[str(endpoint.pod)] = client
            secrets[name] = compiler.svid_resource(name, svid.chain_pem, svid.key_pem)
        snapshot = replace(compiled, resources={**compiled.resources, SECRET: secrets})
        self._hand_over(client, snapshot)
        return problems

    def _hand_over(self, client: str, snapshot: Snapshot) -> None:
        if self._desk.row(client).wanted_version != snapshot.version:
            self._desk.want(client, snapshot.version)
        self._server.offer(client, snapshot)
        if self._server.settled(client):  # nothing of what this proxy asked for differs
            self._desk.have(client)

    def _svid(self, world: World, endpoint: Endpoint) -> Svid:
        """The pod's SVID, renewed at half life with jitter (a tenth of the life either way)."""
        client, now = str(endpoint.pod), self._clock()
        known = self._svids.get(client)
        if known is not None and known[0] == endpoint.uid and now < known[2]:
            return known[1]
        svid = self._authority.issue(world.identity(endpoint), self._settings.svid_ttl_s)
        life = (svid.not_after - dt.datetime.now(dt.UTC)).total_seconds()
        self._svids[client] = (endpoint.uid, svid, now + life * random.uniform(0.4, 0.6), time.time_ns())
        return svid

    def identity_rows(self) -> list[dict[str, Any]]:
        rows = []
        for client, (_, svid, _, delivered) in sorted(self._svids.items()):
            namespace, _, pod = client.partition("/")
            rows.append(
                {
                    "namespace": namespace,
                    "pod": pod,
                    "service_account": svid.spiffe_id.service_account,
                    "spiffe_id": str(svid.spiffe_id),
                    "serial": svid.serial,
                    "not_before": svid.not_before.isoformat(),
                    "not_after": svid.not_after.isoformat(),
                    "issued_at_ns": delivered,
                    "acked": self._desk.row(self._holders.get(client, client)).acked_at_ns >= delivered,
                }
            )
        return rows
