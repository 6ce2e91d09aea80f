"""ClusterIPs: kept, not soon used again, refused where they cannot be had."""

from __future__ import annotations

import ipaddress

import pytest

from meshlab.errors import Conflict, MeshlabError
from meshlab.runtimes.local.addresses import SERVICES, allocate


def test_gives_each_service_its_own_and_keeps_it() -> None:
    wanted = {("a", str(i)): "" for i in range(211)}
    given, cursor = allocate(wanted, {}, 0)
    assert len(set(given.values())) == 211
    assert all(ipaddress.IPv4Address(ip) in SERVICES for ip in given.values())
    assert allocate(wanted, given, cursor) == (given, cursor)


def test_headless_services_have_none() -> None:
    assert allocate({("a", "x"): "None"}, {("a", "x"): "10.96.0.10"}, 1)[0] == {}


def test_a_free_address_is_not_given_at_once() -> None:
    given, cursor = allocate({("a", "x"): ""}, {}, 0)
    later, _ = allocate({("a", "y"): ""}, {}, cursor)
    assert later[("a", "y")] != given[("a", "x")]


def test_goes_round_when_the_end_is_reached() -> None:
    have, cursor = allocate({("a", "x"): ""}, {}, 65_524)
    given, _ = allocate({("a", "x"): "", ("a", "y"): ""}, have, cursor)
    assert (given[("a", "x")], given[("a", "y")]) == ("10.96.255.254", "10.96.0.10")


def test_an_address_that_was_asked_for_goes_before_any_other() -> None:
    given, _ = allocate({("a", "any"): "", ("a", "fixed"): "10.96.0.10"}, {}, 0)
    assert given == {("a", "any"): "10.96.0.11", ("a", "fixed"): "10.96.0.10"}


@pytest.mark.parametrize("text", ["10.97.0.1", "10.96.0.0", "10.96.255.255", "fd00::1", "web"])
def test_refuses_what_is_not_ours(text: str) -> None:
    with pytest.raises(MeshlabError, match="a/x"):
        allocate({("a", "x"): text}, {}, 0)


def test_refuses_to_give_one_twice() -> None:
    with pytest.raises(Conflict, match="a/x"):
        allocate({("a", "x"): "", ("a", "y"): "10.96.0.10"}, {("a", "x"): "10.96.0.10"}, 1)
