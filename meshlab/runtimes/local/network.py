"""Nodes and pods as network namespaces: a fabric bridge between nodes, a pod bridge in each, a veth pair per pod."""

from __future__ import annotations

import subprocess

from meshlab.errors import CannotRun
from meshlab.kit import processes
from meshlab.kit.ledger import Ledger, remove_netns
from meshlab.model.wire import CLIENT_PORTS

_LOCAL_TABLE = 133
_GATEWAY_MAC = "02:00:00:00:00:01"
"""Of each node's pod bridge. Left to itself a bridge takes the lowest address of its ports, which changes as pods come
and go, and every neighbour that remembers the old one talks into the void for up to half a minute."""
_QUIET = "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done; ip link set lo up; "


def _local(mark: int) -> str:
    """Shell: packets with this mark come in over lo, whatever their addresses; accepted sockets answer with the mark
    of what opened them, and so does the kernel where nobody listens (ip-sysctl: tcp_fwmark_accept, fwmark_reflect)."""
    return (
        f"ip rule add fwmark {mark} lookup {_LOCAL_TABLE}; ip route add local default dev lo table {_LOCAL_TABLE};"
        " echo 1 > /proc/sys/net/ipv4/tcp_fwmark_accept; echo 1 > /proc/sys/net/ipv4/fwmark_reflect;"
        " for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done;"
    )


class Network:
    """The links of one lab. Addresses: node i is 172.30.0.i, its pods 10.(128+i).0.0/16, its DNS 10.(128+i).0.1."""

    def __init__(self, lab: str, ledger: Ledger, nodes: int) -> None:
        self._lab = lab
        self._ledger = ledger
        self.nodes = {f"node-{i}": i for i in range(1, nodes + 1)}

    @property
    def fabric(self) -> str:
        """The namespace of the bridge between nodes; its ports are named after the nodes: capture there."""
        return f"ml-{self._lab}-fabric"

    def node_netns(self, node: str) -> str:
        return f"ml-{self._lab}-{node}"

    def gateway(self, node: str) -> str:
        return f"10.{128 + self.nodes[node]}.0.1"

    def pod_ip(self, node: str, number: int) -> str:
        """The address of the number-th pod (from 1) of a lab: it grows, so that it is not soon used again."""
        host = number + 1
        return f"10.{128 + self.nodes[node]}.{host // 254 % 256}.{host % 254 + 1}"

    def pod_netns(self, number: int) -> str:
        return f"ml-{self._lab}-p-{number}"

    def up(self) -> None:
        """Fabric and nodes; what is there already stays."""
        if self._create(self.fabric):
            self._in(self.fabric, f"{_QUIET} ip link add fabric type bridge; ip link set fabric up")
        for node, number in self.nodes.items():
            if self._create(self.node_netns(node)):
                self._node(node, number)

    def _node(self, node: str, number: int) -> None:
        inside = self.node_netns(node)
        self._in(
            self.fabric,
            f"ip link add {node} type veth peer name eth0 netns {inside}; ip link set {node} master fabric up",
        )
        routes = "; ".join(
            f"ip route add 10.{128 + other}.0.0/16 via 172.30.0.{other}"
            for other in self.nodes.values()
            if other != number
        )
        self._in(
            inside,
            f"{_QUIET} echo 1 > /proc/sys/net/ipv4/ip_forward; ip addr add 172.30.0.{number}/16 dev eth0;"
            f" ip link set eth0 up; ip link add pods address {_GATEWAY_MAC} type bridge;"
            f" ip addr add {self.gateway(node)}/16 dev pods;"
            f" ip link set pods up; {routes or 'true'}",
        )

    def add_pod(self, node: str, number: int, rules: str, local_mark: int) -> str:
        """A pod's namespace with its link, address and rules, in place before any process (`PodPlan` says what
        `local_mark` is). Returns its path."""
        name, outside = self.pod_netns(number), self.node_netns(node)
        if not self._create(name):  # left by a daemon that was killed here, or by a pod whose walls fell
            remove_netns(name)
            self._create(name)
        self._in(
            outside,
            f"ip link delete p{number} 2>/dev/null || true; ip link add p{number} type veth peer name eth0"
            f" netns {name}; ip link set p{number} master pods up",
        )
        self._in(
            name,
            f"{_QUIET} ip addr add {self.pod_ip(node, number)}/16 dev eth0; ip link set eth0 up;"
            f" ip route add default via {self.gateway(node)};"
            f" echo {CLIENT_PORTS.start} {CLIENT_PORTS.stop - 1} > /proc/sys/net/ipv4/ip_local_port_range;"
            f" {_local(local_mark) if local_mark else ''} nft -f -",
            rules,
        )
        return f"/run/netns/{name}"

    def load(self, number: int, rules: str) -> None:
        """Load an nftables script in a pod's namespace."""
        self._in(self.pod_netns(number), "nft -f -", rules)

    def remove_pod(self, number: int) -> None:
        remove_netns(self.pod_netns(number))
        self._ledger.forget("netns", self.pod_netns(number))

    def _create(self, name: str) -> bool:
        """False if it is there."""
        self._ledger.record("netns", name)
        done = processes.run(["ip", "netns", "add", name], check=False)
        if done.returncode and b"File exists" not in done.stderr:
            raise CannotRun(f"no network namespace {name}: {done.stderr.decode().strip()}", hint="meshlab doctor")
        return done.returncode == 0

    def _in(self, netns: str, script: str, stdin: str = "") -> None:
        command = ["ip", "netns", "exec", netns, "/bin/sh", "-ec", script]
        try:
            processes.run(command, stdin=stdin.encode())
        except subprocess.CalledProcessError as error:
            raise CannotRun(
                f"network of {netns}: {error.stderr.decode().strip()}", hint="meshlab doctor shows what is missing"
            ) from error
