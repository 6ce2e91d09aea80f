"""The AdsServer and a real Envoy, in state of the world and in delta."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meshlab.xds.conversation import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from tests.xds.real_envoy import CLIENT, Mesh, eventually, running

VARIANTS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])


async def asked_all_the_time(mesh: Mesh, ended: asyncio.Event) -> set[str]:
    """What the requests until the end were answered; each must be."""
    found = set()
    while not ended.is_set():
        found.add(await mesh.ask())
    return found


@VARIANTS
async def test_envoy_gets_its_listeners_answers_requests_and_acknowledges(delta: bool, tmp_path: Path) -> None:
    async with running(tmp_path, delta=delta) as mesh:
        await mesh.settle(mesh.leading_to("a"))
        await eventually(lambda: serving(mesh))
        assert await mesh.ask() == "a"
        assert {one.type_url for one in mesh.desk.answers} == {CLUSTER, ENDPOINTS, LISTENER, ROUTE}
        assert {one.version for one in mesh.desk.answers} == {"v1"}
        assert mesh.desk.nacks == []
        assert mesh.desk.open == 1
        assert mesh.server.connected == {CLIENT}


async def serving(mesh: Mesh) -> bool:
    try:
        return bool(await mesh.ask())
    except OSError:
        return False


@VARIANTS
async def test_a_route_moves_to_a_new_cluster_without_a_lost_request(delta: bool, tmp_path: Path) -> None:
    async with running(tmp_path, delta=delta) as mesh:
        await mesh.settle(mesh.leading_to("a"))
        await eventually(lambda: serving(mesh))
        ended = asyncio.Event()
        asking = asyncio.create_task(asked_all_the_time(mesh, ended))
        for name in ("b", "a", "b"):
            await mesh.settle(mesh.leading_to(name))
            assert await mesh.ask() == name
        ended.set()
        assert await asking == {"a", "b"}
        assert mesh.desk.nacks == []

        async def the_old_one_is_gone() -> bool:
            return await mesh.clusters() == ({"b"}, set())

        await eventually(the_old_one_is_gone)


@VARIANTS
async def test_a_cluster_that_changes_is_warm_again_with_the_same_endpoints(delta: bool, tmp_path: Path) -> None:
    async with running(tmp_path, delta=delta) as mesh:
        await mesh.settle(mesh.leading_to("a"))
        await eventually(lambda: serving(mesh))
        async with asyncio.timeout(10):  # else Envoy gives up waiting after 15 s, and acknowledges only then
            await mesh.settle({**mesh.leading_to("a"), CLUSTER: [mesh.cluster("a", connect_timeout="2s")]})
        assert await mesh.clusters() == ({"a"}, set())
        assert await mesh.ask() == "a"


@VARIANTS
@pytest.mark.parametrize("what", ["route", "listener"])
async def test_what_envoy_refuses_leaves_the_last_good_one_serving(delta: bool, what: str, tmp_path: Path) -> None:
    async with running(tmp_path, delta=delta) as mesh:
        await mesh.settle(mesh.leading_to("a"))
        await eventually(lambda: serving(mesh))
        bad = mesh.leading_to("b")
        if what == "route":
            bad[ROUTE] = [mesh.route("b", safe_regex={"regex": "("})]
        else:
            bad[LISTENER] = [mesh.listener(listener_filters=[{"name": "no.such.filter"}])]
            bad[ROUTE] = [mesh.route("a")]
            bad[CLUSTER] += [mesh.cluster("a")]
            bad[ENDPOINTS] += [mesh.endpoints("a")]
        mesh.offer(bad)
        await mesh.desk.until(lambda: bool(mesh.desk.nacks))
        [nack] = mesh.desk.nacks
        assert (nack.type_url, nack.version) == ({"route": ROUTE, "listener": LISTENER}[what], "v2")
        assert {"route": "missing )", "listener": "no.such.filter"}[what] in nack.error
        assert not mesh.server.settled(CLIENT)
        assert await mesh.ask() == "a"
        await mesh.settle(mesh.leading_to("b"))
        assert await mesh.ask() == "b"
        assert len(mesh.desk.nacks) == 1


@VARIANTS
async def test_a_new_control_plane_finds_the_client_again_and_no_request_is_lost(delta: bool, tmp_path: Path) -> None:
    async with running(tmp_path, delta=delta) as mesh:
        await mesh.settle(mesh.leading_to("a"))
        await eventually(lambda: serving(mesh))
        ended = asyncio.Event()
        asking = asyncio.create_task(asked_all_the_time(mesh, ended))
        assert mesh.desk.fresh == [True], "a process that has just started"
        await mesh.restart_server()
        await mesh.desk.until(lambda: mesh.server.settled(CLIENT))
        sent = [one.name for push in mesh.desk.pushes for one in push.resources]
        assert bool(sent) is not delta  # delta tells what it has; state of the world cannot
        assert mesh.desk.fresh == [False], "it says that it has something"
        await mesh.settle(mesh.leading_to("b"))
        assert await mesh.ask() == "b"
        ended.set()
        assert await asking == {"a", "b"}


@VARIANTS
async def test_a_client_that_is_not_admitted_gets_nothing(delta: bool, tmp_path: Path) -> None:
    async with running(tmp_path, delta=delta, token="wrong") as mesh:
        mesh.offer(mesh.leading_to("a"))

        async def refused() -> bool:
            if not mesh.listening():
                return False
            stats = await mesh.admin("/stats?format=json&filter=cluster.ads.upstream_rq_total")
            return any(one.get("value", 0) >= 1 for one in stats["stats"])

        await eventually(refused)
        await eventually(lambda: said(tmp_path, "who is this?"))
        assert (mesh.desk.open, mesh.desk.pushes, mesh.server.connected) == (0, [], set())


async def said(folder: Path, words: str) -> bool:
    return words in (folder / "envoy.log").read_text()
