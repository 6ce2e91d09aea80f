"""Rows of what proxies carried and kernels read: each request once, with what either knows, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from meshlab.telemetry.carried import joined
from meshlab.telemetry.events import FlowEvent, Link, Part

S = 1_000_000_000
CLIENT, SERVER = "spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/api"


def read(
    at: int = 10, began: int = 10, kind: str = "request", reporter: str = "source", port: int = 20500
) -> FlowEvent:
    """What the kernel tells (seconds)."""
    link = Link(Part.READ, reporter, "10.0.0.1", port, began * S + 5)
    known = (
        {"source_pod": "web-1", "source_principal": CLIENT, "destination_ip": "10.96.0.1"}
        if reporter == "source"
        else {"destination_pod": "api-1", "destination_principal": SERVER, "source_ip": "10.0.0.1"}
    )
    return FlowEvent(
        at * S, kind, reporter, "sidecarless", "ebpf", verdict="allowed", reason="ok", mtls=False, status=200,
        source_port=port, link=link, **known,
    )  # fmt: skip


def proxy(part: Part, began: int = 10, reporter: str = "source", port: int = 20500, **values: object) -> FlowEvent:
    """What the node's proxy tells."""
    link = Link(part, reporter, "10.0.0.1", port, began * S)
    known = (
        {"destination_pod": "api-1", "destination_principal": SERVER, "destination_ip": "10.0.1.2"}
        if reporter == "source"
        else {"source_pod": "web-1", "source_principal": CLIENT, "source_port": 41, "policy": "shop/p", "rule": 0}
    )
    made = FlowEvent(
        began * S, "connection", reporter, "sidecarless", "envoy", verdict="allowed", reason="ok", mtls=True, link=link
    )
    return replace(made, **{**known, **values})


def test_a_request_has_what_the_kernel_read_and_who_the_proxy_knows() -> None:
    both = [read(), proxy(Part.BEGUN), read(reporter="destination"), proxy(Part.BEGUN, reporter="destination")]
    for order in permutations(both):
        there, here = sorted(joined(order), key=lambda row: row.reporter)
        for row in (there, here):
            assert (row.kind, row.observer, row.status, row.mtls, row.link) == ("request", "ebpf", 200, True, None)
            assert (row.source_pod, row.source_principal) == ("web-1", CLIENT)
            assert (row.destination_pod, row.destination_principal) == ("api-1", SERVER)
        assert here.destination_ip == "10.0.1.2"
        assert (there.policy, there.rule, there.source_port) == ("shop/p", 0, 41)


def test_an_end_is_no_row_where_the_kernel_has_told_the_requests() -> None:
    [row] = joined([proxy(Part.BEGUN), read(), proxy(Part.ENDED)])
    assert row.kind == "request"
    [row] = joined([proxy(Part.BEGUN), read(), proxy(Part.ENDED, verdict="failed", reason="upstream_reset")])
    assert row.kind == "request"


def test_a_connection_that_is_told_by_both_is_one_row() -> None:
    told = [proxy(Part.BEGUN), read(kind="connection")]
    [row] = joined([*told, proxy(Part.ENDED)])
    assert (row.observer, row.destination_pod, row.mtls) == ("ebpf", "api-1", True)
    [row] = joined([*told, proxy(Part.ENDED, verdict="failed", reason="upstream_reset")])
    assert (row.observer, row.verdict, row.reason) == ("envoy", "failed", "upstream_reset")


def test_what_never_came_to_be_is_the_proxys_row() -> None:
    failed = proxy(Part.ENDED, verdict="failed", reason="upstream_connect_failed")
    [row] = joined([failed, read(kind="connection")])
    assert (row.observer, row.reason, row.link) == ("envoy", "upstream_connect_failed", None)
    denied = proxy(Part.ENDED, reporter="destination", verdict="denied", reason="policy_deny")
    assert [row.reason for row in joined([denied])] == ["policy_deny"]


def test_what_the_kernel_has_lost_the_proxy_still_tells() -> None:
    [row] = joined([proxy(Part.BEGUN), proxy(Part.ENDED)])
    assert (row.observer, row.kind) == ("envoy", "connection")
    assert joined([proxy(Part.BEGUN)]) == []


def test_without_a_word_of_the_proxy_a_request_is_still_a_row() -> None:
    [row] = joined([read()])
    assert (row.status, row.destination_pod, row.link) == (200, None, None)


def test_a_port_that_is_used_again_is_another_connection() -> None:
    other = "spiffe://cluster.local/ns/shop/sa/other"
    found = joined(
        [
            read(11, 10),
            read(99, 10),
            read(101, 100),
            proxy(Part.BEGUN, 10),
            proxy(Part.BEGUN, 100, destination_principal=other),
            read(300, 300),
            read(12, 10, port=20501),
        ]
    )
    by_time = {row.time // S: row.destination_principal for row in found}
    assert by_time == {11: SERVER, 99: SERVER, 101: other, 300: None, 12: None}


def test_what_a_proxy_has_read_by_itself_is_told_once() -> None:
    own = FlowEvent(
        10 * S, "request", "source", "sidecarless", "envoy", source_ip="10.0.0.1", source_port=20500, status=200
    )
    assert joined([read(), own]) == [own]
    assert len(joined([read(300, 300), own])) == 2
    assert len(joined([read(reporter="destination"), own])) == 2
