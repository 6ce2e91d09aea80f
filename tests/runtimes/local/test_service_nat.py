"""ClusterIPs without a proxy: nft takes the rules, and connections go where they say."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlab.kit.ledger import remove_netns
from meshlab.kit.netns import socket_in
from meshlab.model.mesh import Mesh
from meshlab.model.services import Service, ServicePort
from meshlab.model.world import World
from meshlab.runtimes.local import service_nat
from tests.runtimes.local.worlds import PODS, WORLD, with_services

EMPTY = Service("shop", "empty", (ServicePort(81, "http"),), {"app": "nobody"})
NAMES = Service(
    "shop", "names", (ServicePort(53, "dns", 5353, protocol="UDP"), ServicePort(54, "x", "no-such")), {"app": "web"}
)
FULL = with_services(EMPTY, NAMES, cluster_ips={("shop", "empty"): "10.96.0.11", ("shop", "names"): "10.96.0.12"})


@pytest.fixture
def space(lab_name: Callable[[], str]) -> Iterator[str]:
    """A namespace that holds the pods' addresses itself and has a way out, as a pod has."""
    name = f"ml-{lab_name()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    for words in (
        "link set lo up",
        "link add eth0 type veth peer name outside",
        "link set outside up",
        "addr add 10.129.0.2/16 dev eth0",
        "addr add 10.129.0.3/16 dev eth0",
        "link set eth0 up",
        "route add default via 10.129.0.1",
    ):
        subprocess.run(["ip", "-n", name, *words.split()], check=True)
    yield name
    remove_netns(name)


def load(space: str, rules: str) -> None:
    subprocess.run(["ip", "netns", "exec", space, "nft", "-f", "-"], input=rules.encode(), check=True)


def chain(space: str, name: str) -> list[str]:
    command = ["ip", "netns", "exec", space, "nft", "-s", "list", "chain", "ip", "services", name]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.strip() for line in lines if "ip daddr" in line]


def objects(space: str) -> list[dict[str, Any]]:
    command = ["ip", "netns", "exec", space, "nft", "-j", "list", "ruleset"]
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[
        "nftables"
    ]
    return found


def test_nft_takes_the_rules_and_they_say_what_the_world_says(space: str) -> None:
    load(space, service_nat.rules(FULL))
    to_dns, to_pods = chain(space, "nat")
    assert to_pods.startswith("ip daddr 10.96.0.10 tcp dport 80 dnat ip to numgen random mod 2 map")
    assert "10.129.0.2 . 8080" in to_pods
    assert "10.129.0.3 . 8080" in to_pods
    assert "10.129.0.4" not in to_pods  # not ready
    assert "ip daddr 10.96.0.12 udp dport 53" in to_dns
    assert [line.split(" reject")[0] for line in chain(space, "refuse")] == [
        "ip daddr 10.96.0.11 tcp dport 81",
        "ip daddr 10.96.0.12 tcp dport 54",
    ]


def test_loading_again_replaces_all_of_it(space: str) -> None:
    for world in (FULL, FULL, WORLD, World(Mesh())):
        load(space, service_nat.rules(world))
    assert chain(space, "nat") == chain(space, "refuse") == []
    assert [one["table"]["name"] for one in objects(space) if "table" in one] == ["services"]


def test_connections_reach_ready_pods_and_are_refused_where_there_is_none(space: str) -> None:
    load(space, service_nat.rules(FULL))
    path = str(Path("/run/netns", space))
    servers = [socket_in(path), socket_in(path)]
    for server, pod in zip(servers, PODS, strict=False):
        server.bind((pod.ip, 8080))
        server.listen(128)
        server.setblocking(False)
    for _ in range(43):
        with socket_in(path) as client:
            client.connect(("10.96.0.10", 80))
    reached = [accepted(server) for server in servers]
    assert sum(reached) == 43
    assert all(reached)
    with socket_in(path) as client, pytest.raises(ConnectionRefusedError):
        client.connect(("10.96.0.11", 81))


def accepted(server: socket.socket) -> int:
    """How many connections wait to be taken; the server is closed."""
    count = 0
    with server, contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


def test_a_world_gives_the_same_rules_each_time() -> None:
    assert service_nat.rules(FULL) == service_nat.rules(FULL)


def test_headless_services_have_no_rule() -> None:
    assert "web-pods" not in service_nat.rules(WORLD)
    assert service_nat.rules(WORLD).count("ip daddr") == 1
