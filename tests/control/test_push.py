"""From what a runtime shows to what each proxy is offered."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from meshlab.model.workloads import Mode
from meshlab.model.world import PodId
from meshlab.xds.conversation import LISTENER, SECRET
from tests.compile.worlds import ENDPOINTS, POLICIES
from tests.control.support import DANGLING, TTL_S, Control

API, WEB = "shop/api-1", "shop/web-1"


async def test_every_sidecar_is_offered_its_snapshot_with_its_own_key(tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        await control.show(POLICIES)
        assert set(control.server.latest) == {API, WEB}
        assert control.push.problems == ()
        keys = set()
        for client, snapshot in control.server.latest.items():
            assert snapshot.version == control.push.version == control.desk.row(client).wanted_version
            assert "inbound" in snapshot.resources[LISTENER]
            secret = secret_pb2.Secret()
            assert set(snapshot.resources[SECRET]) == {"default", "ROOTCA"}
            AnyMessage.FromString(snapshot.resources[SECRET]["default"].body).Unpack(secret)
            keys.add(secret.tls_certificate.private_key.inline_string)
            assert "PRIVATE KEY" not in repr(snapshot)
        assert len(keys) == 2
        ids = {row["pod"]: row["spiffe_id"] for row in control.push.identity_rows()}
        assert ids == {
            "api-1": "spiffe://cluster.local/ns/shop/sa/api",
            "web-1": "spiffe://cluster.local/ns/shop/sa/web",
        }


async def test_a_nodes_shared_proxy_gets_the_svids_of_its_own_pods_only(tmp_path: Path) -> None:
    shared = [dataclasses.replace(one, mode=Mode.SIDECARLESS, netns=f"/netns/{one.pod.name}") for one in ENDPOINTS]
    async with Control(tmp_path, shared) as control:
        await control.show(POLICIES)
        latest = control.server.latest
        assert set(latest) == {"/node-1", "/node-2", "/node-1/agent", "/node-2/agent"}
        secrets = {client: set(snapshot.resources.get(SECRET, {})) for client, snapshot in latest.items()}
        assert secrets["/node-1/agent"] == secrets["/node-2/agent"] == set()
        assert secrets["/node-1"] == {"ROOTCA", "svid@shop/api-1", "svid@shop/old-1"}
        assert secrets["/node-2"] == {"ROOTCA", "svid@shop/web-1"}
        control.replace(WEB, mode=Mode.NONE)
        await control.show(POLICIES)
        assert set(control.server.latest["/node-2"].resources[SECRET]) == {"ROOTCA"}
        assert not control.server.latest["/node-2"].resources[LISTENER]


async def test_a_snapshot_that_does_not_hold_together_keeps_the_last_good_one_and_says_why(tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        await control.show()
        good = dict(control.server.latest)
        await control.show(DANGLING)
        assert {client: one.version for client, one in control.server.latest.items()} == {
            client: one.version for client, one in good.items()
        }
        assert control.server.latest == good
        [problem] = control.push.problems
        assert "nobody" in problem
        assert control.push.version != good[API].version
        assert control.desk.row(API).wanted_version == good[API].version
        await control.show(POLICIES)
        assert control.push.problems == ()
        assert control.server.latest[API].version == control.push.version


async def test_a_new_pod_is_not_served_what_does_not_hold_together(tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        await control.show(DANGLING)
        assert control.server.offers == []
        assert control.push.problems
        await control.show()
        control.replace(API, uid="another")
        await control.show(DANGLING)
        assert [client for client, _ in control.server.offers].count(API) == 1


async def test_a_document_that_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    bad = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "shop"}, "spec": {"prots": []}}
    async with Control(tmp_path) as control:
        await control.show(extra=[bad])
        [problem] = control.push.problems
        assert problem.startswith("Service/x: ")
        assert "prots" in problem
        assert set(control.server.latest) == {API, WEB}


async def test_of_many_states_at_once_only_the_newest_is_pushed(tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        for number in range(23):
            control.runtime.states.put_nowait(control.state(DANGLING if number < 22 else POLICIES))
        await control.pushed()
        assert [client for client, _ in control.server.offers] == [API, WEB]
        assert control.push.problems == ()


async def test_a_pod_that_is_gone_is_forgotten_and_its_successor_gets_a_new_svid(tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        await control.show()
        before = control.serials()
        control.replace(WEB, uid="another")
        control.endpoints = tuple(one for one in control.endpoints if str(one.pod) != API)
        await control.show()
        assert set(control.server.latest) == {WEB}
        after = control.serials()
        assert set(after) == {WEB}
        assert after[WEB] != before[WEB]


async def test_a_pod_without_an_address_waits(tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        control.replace(WEB, ip="")
        await control.show()
        assert set(control.server.latest) == {API}


async def test_the_same_state_again_keeps_svids_and_versions(tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        await control.show()
        first, serials = dict(control.server.latest), control.serials()
        await control.show()
        assert control.server.latest == first
        assert control.serials() == serials


def many(count: int) -> list[object]:
    return [dataclasses.replace(ENDPOINTS[0], pod=PodId("shop", f"api-{n}"), uid=f"u{n}") for n in range(count)]


async def test_svids_are_renewed_around_half_life_each_at_its_own_time(tmp_path: Path) -> None:
    async with Control(tmp_path, many(23)) as control:  # type: ignore[arg-type]
        await control.show()
        first = control.serials()

        async def renewed_at(share: float) -> int:
            control.now = 1000.0 + TTL_S * share
            await control.show()
            return sum(first[pod] != serial for pod, serial in control.serials().items())

        assert await renewed_at(0.39) == 0
        assert 0 < await renewed_at(0.5) < 23
        assert await renewed_at(0.61) == 23


@pytest.mark.parametrize("texts", [(), (DANGLING,)], ids=["good", "bad-documents"])
async def test_a_due_svid_is_renewed_without_any_news(texts: tuple[str, ...], tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        await control.show()
        first = control.serials()
        reached = asyncio.Event()

        def pass_time() -> None:
            control.now = 1000.0 + TTL_S * 0.7
            if control.serials().keys() == first.keys() and not control.serials().items() & first.items():
                reached.set()

        control.server.then = pass_time
        await control.show(*texts)
        async with asyncio.timeout(20):
            await reached.wait()
        versions = {snapshot.version for _, snapshot in control.server.offers}
        assert len(versions) == 1
        bodies = {snapshot.resources[SECRET]["default"].version for client, snapshot in control.server.offers}
        assert len(bodies) == 4


async def test_a_proxy_that_has_everything_already_counts_as_having_it(tmp_path: Path) -> None:
    async with Control(tmp_path) as control:
        control.server.acks = {API}
        await control.show()
        rows = {row["pod"]: row for row in control.desk.proxy_rows()}
        assert rows["api-1"]["acked_version"] == control.push.version
        assert rows["web-1"]["acked_version"] == ""
        acked = {row["pod"]: row["acked"] for row in control.push.identity_rows()}
        assert acked == {"api-1": True, "web-1": False}
