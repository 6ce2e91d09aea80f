"""The agent's end of ADS against the real server: whole sets, changes, a NACK, a new server, batches of flows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from meshlab.compile.bpf import snapshot
from meshlab.errors import MeshlabError
from meshlab.model.kernel import KERNEL_TYPE, KernelPlan, KernelService
from meshlab.model.mesh import Mesh
from meshlab.model.world import World
from meshlab.xds.client import AdsClient
from meshlab.xds.conversation import Answer, Response
from meshlab.xds.server import AdsServer

CLIENT, WORLD = "/node-1/agent", World(Mesh())


@dataclass
class Desk:
    answers: list[Answer] = field(default_factory=list)
    batches: list[tuple[str, bytes, int]] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)

    def admit(self, token: str, node_id: str) -> str:
        if token != "good" or node_id not in ("", "agent~node-1"):
            raise MeshlabError("refused")
        return CLIENT

    def opened(self, client: str, *, fresh: bool) -> None:
        assert client == CLIENT
        self.fresh.append(fresh)

    def closed(self, client: str) -> None: ...
    def pushed(self, client: str, response: Response) -> None: ...

    def answered(self, client: str, answer: Answer, *, settled: bool) -> None:
        assert (client, isinstance(settled, bool)) == (CLIENT, True)
        self.answers.append(answer)

    def logged(self, client: str, payload: bytes, rows: int) -> None:
        self.batches.append((client, payload, rows))


def plan(*ports: int) -> KernelPlan:
    return KernelPlan("node-1", (), tuple(KernelService("a/b", "10.96.0.1", port, True) for port in ports))


@asynccontextmanager
async def serving(socket: Path, desk: Desk, *ports: int) -> AsyncIterator[AdsServer]:
    server = AdsServer(desk)
    server.offer(CLIENT, snapshot(WORLD, plan(*ports)))
    await server.start(socket, 0)
    try:
        yield server
    finally:
        await server.stop()


class Taker:
    """What came, and what must not."""

    def __init__(self) -> None:
        self.sets: list[set[str]] = []
        self.bad = ""

    def take(self, resources: Mapping[str, str]) -> None:
        if self.bad and self.bad in resources:
            raise ValueError(f"{self.bad} is bad")
        self.sets.append(set(resources))


def names(*ports: int) -> set[str]:
    return {f"service/10.96.0.1:{port}" for port in ports}


async def until(check: object, what: object = "") -> None:
    assert callable(check)
    for _ in range(500):
        if check():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(what)


async def test_sets_come_whole_a_refused_one_changes_nothing_a_new_server_is_told_what_is_held(
    tmp_path: Path,
) -> None:
    socket, desk, taker = tmp_path / "ads.sock", Desk(), Taker()
    client = AdsClient(str(socket), "good", "agent~node-1", KERNEL_TYPE)
    following = asyncio.create_task(client.follow(taker.take))
    try:
        async with serving(socket, desk, 80, 81) as server:
            await until(lambda: taker.sets == [names(80, 81)], taker.sets)
            server.offer(CLIENT, snapshot(WORLD, plan(81, 82)))
            await until(lambda: taker.sets[-1] == names(81, 82), taker.sets)
            taker.bad = "service/10.96.0.1:83"
            server.offer(CLIENT, snapshot(WORLD, plan(81, 82, 83)))
            await until(lambda: desk.answers[-1].error, desk.answers)
            assert "is bad" in desk.answers[-1].error
            assert taker.sets[-1] == names(81, 82)
        assert desk.fresh == [True]
        taker.bad = ""
        async with serving(socket, desk, 82, 84):
            await until(lambda: taker.sets[-1] == names(82, 84), taker.sets)
        assert desk.fresh == [True, False]
    finally:
        following.cancel()
        await client.close()


async def test_a_batch_is_counted_and_kept_once_and_without_a_server_it_is_not_taken(tmp_path: Path) -> None:
    socket, desk = tmp_path / "ads.sock", Desk()
    client = AdsClient(str(socket), "good", "agent~node-1", KERNEL_TYPE)
    stranger = AdsClient(str(socket), "bad", "agent~node-1", KERNEL_TYPE)
    try:
        assert await client.send_flows(7, 1, 0, 100, b"lost?") is None
        async with serving(socket, desk, 80):
            for _ in range(100):
                if taken := await client.send_flows(7, 1, 0, 100, b"batch"):
                    break
                await asyncio.sleep(0.05)
            assert taken == 100
            assert await stranger.send_flows(7, 1, 0, 100, b"forged") is None
            # The heir of an agent that died before it heard of it: it is told from where on.
            assert await client.send_flows(9, 1, 0, 130, b"batch and more") == 100
            assert await client.send_flows(2, 1, 100, 130, b"more") == 130
            assert await client.send_flows(1, 2, 0, 10, b"another ring") == 10
        assert desk.batches == [(CLIENT, b"batch", 7), (CLIENT, b"more", 2), (CLIENT, b"another ring", 1)]
    finally:
        await client.close()
        await stranger.close()
