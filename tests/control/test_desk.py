"""Who is admitted, and what is remembered of every proxy."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from meshlab.control.desk import Desk
from meshlab.errors import MeshlabError
from meshlab.identity.tokens import TokenKey
from meshlab.model.world import World
from meshlab.telemetry.store import FlowStore, records
from meshlab.xds.conversation import CLUSTER, LISTENER, Answer, Response
from tests.compile.worlds import ENDPOINTS, world

API, OLD, WEB = ENDPOINTS
NODE_ID = "sidecar~10.130.0.2~web-1.shop~shop"


@pytest.fixture
def key(tmp_path: Path) -> TokenKey:
    return TokenKey.load_or_create(tmp_path / "token.key")


@pytest.fixture
def desk(key: TokenKey, tmp_path: Path) -> Desk:
    made = Desk(key, FlowStore(tmp_path / "flows"))
    made.see(world())
    return made


def test_a_proxy_with_the_token_of_its_pod_is_admitted(desk: Desk, key: TokenKey) -> None:
    assert desk.admit(key.mint_for(WEB), NODE_ID) == "shop/web-1"
    assert desk.admit(key.mint_for(WEB), "") == "shop/web-1"  # access logs carry no node


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uid": "of yesterday"}, "uid"),
        ({"pod": dataclasses.replace(WEB.pod, name="web-9")}, "no pod shop/web-9"),
        ({"pod": API.pod, "uid": API.uid}, "node id"),
    ],
    ids=["old-uid", "unknown-pod", "another-pod"],
)
def test_the_token_of_another_pod_or_uid_is_refused(
    desk: Desk, key: TokenKey, changes: dict[str, object], words: str
) -> None:
    token = key.mint_for(dataclasses.replace(WEB, **changes))  # type: ignore[arg-type]
    with pytest.raises(MeshlabError, match=words):
        desk.admit(token, NODE_ID)


def test_a_nodes_shared_proxy_is_admitted_as_that_node_only(desk: Desk, key: TokenKey) -> None:
    token = key.mint_for_node("node-2")
    assert desk.admit(token, "node~node-2") == desk.admit(token, "") == "/node-2"
    for other in ("node~node-1", NODE_ID):
        with pytest.raises(MeshlabError, match="node id"):
            desk.admit(token, other)
    with pytest.raises(MeshlabError, match="node id"):
        desk.admit(key.mint_for(WEB), "node~node-2")


def test_a_nodes_agent_is_admitted_as_that_nodes_agent_only(desk: Desk, key: TokenKey) -> None:
    token = key.mint_for_agent("node-2")
    assert desk.admit(token, "agent~node-2") == desk.admit(token, "") == "/node-2/agent"
    for other in ("agent~node-1", "node~node-2", NODE_ID):
        with pytest.raises(MeshlabError, match="node id"):
            desk.admit(token, other)
    with pytest.raises(MeshlabError, match="node id"):
        desk.admit(key.mint_for_node("node-2"), "agent~node-2")


def test_without_a_token_or_with_another_labs_nobody_is_admitted(desk: Desk, tmp_path: Path) -> None:
    other = TokenKey.load_or_create(tmp_path / "other.key")
    for token in ("", "Bearer", other.mint_for(WEB)):
        with pytest.raises(MeshlabError, match="token refused"):
            desk.admit(token, NODE_ID)


def test_nobody_is_admitted_before_the_pods_are_known(key: TokenKey, tmp_path: Path) -> None:
    with pytest.raises(MeshlabError, match="no pod"):
        Desk(key, FlowStore(tmp_path / "flows")).admit(key.mint_for(WEB), NODE_ID)


def test_a_pod_that_is_gone_is_no_longer_admitted(desk: Desk, key: TokenKey) -> None:
    desk.see(World(world().mesh, (API,)))
    with pytest.raises(MeshlabError, match="no pod"):
        desk.admit(key.mint_for(WEB), NODE_ID)


def test_rows_tell_wanted_acknowledged_and_refused(desk: Desk) -> None:
    client = "shop/web-1"
    desk.opened(client, fresh=True)
    desk.want(client, "v1")
    desk.pushed(client, Response(CLUSTER, "1", "v1", ()))
    desk.answered(client, Answer(CLUSTER, "v1", ""), settled=False)
    row = desk.row(client)
    assert (row.connected, row.node, row.wanted_version, row.acked_version) == (True, "node-2", "v1", "")
    desk.answered(client, Answer(LISTENER, "v1", ""), settled=True)
    assert (row.acked_version, row.nack, row.nacks) == ("v1", "", 0)
    assert row.since_ns <= row.wanted_at_ns <= row.acked_at_ns
    desk.want(client, "v2")
    desk.answered(client, Answer(LISTENER, "v2", "no such filter"), settled=False)
    assert (row.wanted_version, row.acked_version) == ("v2", "v1")
    assert (row.nack, row.nacks) == ("no such filter", 1)
    assert row.nack_at_ns >= row.wanted_at_ns
    desk.answered(client, Answer(CLUSTER, "v2", ""), settled=False)
    assert row.nack == "no such filter"
    desk.answered(client, Answer(LISTENER, "v3", ""), settled=True)
    assert (row.nack, row.nacks) == ("", 1)
    desk.closed(client)
    assert not row.connected


def test_a_proxy_that_is_back_at_its_last_good_configuration_shows_no_nack(desk: Desk) -> None:
    desk.want("shop/web-1", "v2")
    desk.answered("shop/web-1", Answer(LISTENER, "v2", "no"), settled=False)
    desk.want("shop/web-1", "v1")
    desk.have("shop/web-1")
    row = desk.row("shop/web-1")
    assert (row.acked_version, row.nack, row.nacks) == ("v1", "", 1)


def test_every_push_ack_and_nack_is_an_event_in_order(desk: Desk) -> None:
    client = "shop/web-1"
    desk.pushed(client, Response(CLUSTER, "1", "v1", ()))
    desk.answered(client, Answer(CLUSTER, "v1", ""), settled=True)
    desk.answered(client, Answer(LISTENER, "v2", "why"), settled=False)
    found = [(e["n"], e["kind"], e["type"], e["version"], e["error"]) for e in desk.events]
    assert found == [
        (1, "push", "Cluster", "v1", ""),
        (2, "ack", "Cluster", "v1", ""),
        (3, "nack", "Listener", "v2", "why"),
    ]
    assert {(e["namespace"], e["pod"]) for e in desk.events} == {("shop", "web-1")}
    times = [e["time_ns"] for e in desk.events]
    assert times == sorted(times)


def test_only_proxies_that_want_or_are_connected_have_a_row(desk: Desk) -> None:
    assert desk.proxy_rows() == []
    desk.want("shop/web-1", "v1")
    desk.opened("shop/api-1", fresh=True)
    assert [row["pod"] for row in desk.proxy_rows()] == ["api-1", "web-1"]


def test_the_row_of_a_pod_that_is_gone_stays_until_it_has_hung_up(desk: Desk) -> None:
    desk.opened("shop/web-1", fresh=True)
    desk.see(World(world().mesh, (API,)))
    assert [row["pod"] for row in desk.proxy_rows()] == ["web-1"]
    desk.closed("shop/web-1")
    desk.see(World(world().mesh, (API,)))
    assert desk.proxy_rows() == []


def test_addresses_are_remembered_after_their_pods_are_gone(desk: Desk) -> None:
    desk.see(World(world().mesh, (API,)))
    peer = desk.peers[OLD.ip]
    assert (peer["pod"], peer["mode"], peer["services"], peer["node"]) == ("old-1", "none", ["old"], "node-1")
    assert desk.peers[API.ip]["services"] == ["api", "peers"]


def test_a_new_control_plane_knows_the_addresses_of_pods_that_are_gone(
    desk: Desk, key: TokenKey, tmp_path: Path
) -> None:
    later = Desk(key, FlowStore(tmp_path / "flows"))
    later.see(World(world().mesh, (API,)))
    assert later.peers[OLD.ip] == desk.peers[OLD.ip]
    assert later.peers[OLD.ip]["pod"] == "old-1"


def test_access_logs_are_kept_as_they_came(desk: Desk, tmp_path: Path) -> None:
    desk.logged("shop/web-1", b"\x00raw", 3)
    [record] = records(FlowStore(tmp_path / "flows").read())
    assert (record.reporter, record.rows, record.payload) == ("shop/web-1", 3, b"\x00raw")


def test_the_rows_of_a_proxy_count_from_its_start(desk: Desk, tmp_path: Path) -> None:
    def read_again() -> dict[str, int]:
        """As a new control plane would, from a copy."""
        copied = shutil.copytree(tmp_path / "flows", tmp_path / "copy", dirs_exist_ok=False)
        rows = dict(FlowStore(copied).rows)
        shutil.rmtree(copied)
        return rows

    desk.opened("shop/web-1", fresh=True)
    desk.logged("shop/web-1", b"one", 3)
    desk.logged("shop/api-1", b"two", 5)
    desk.opened("shop/web-1", fresh=False)  # the control plane had been away
    desk.logged("shop/web-1", b"more", 4)
    assert read_again() == {"shop/web-1": 7, "shop/api-1": 5}
    desk.opened("shop/web-1", fresh=True)
    desk.logged("shop/web-1", b"new", 2)
    assert read_again() == {"shop/web-1": 2, "shop/api-1": 5}
